package agents

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
)

// OuterSteps are what the mode does outside of our own files, or takes back:
// the environment of shells and GUI programs, trust, the system proxy. They
// come last, when the edge is up: nothing may lead a program to a dead port.
func (in *Installer) OuterSteps() []Step {
	apps := in.Mode == ModeApps || in.Mode == ModeFull
	var steps []Step
	if in.Mode == ModeFull {
		steps = append(steps, Step{"keychain", in.trust}, Step{"system proxy", in.takeSystemProxy})
	} else if in.managed(in.Paths.ProxyManaged()) {
		steps = append(steps, Step{"system proxy", in.returnSystemProxy}, Step{"keychain", in.untrust})
	}
	if apps {
		steps = append(steps, Step{"shell files", in.writeShellFiles}, Step{"login environment", in.setLogin})
	} else if in.managed(in.Paths.AppsManaged()) || in.shellFilesHoldUs() {
		steps = append(steps, Step{"shell files", in.cleanShellFiles}, Step{"login environment", in.clearLogin})
	}
	return steps
}

func (in *Installer) managed(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (in *Installer) trust(ctx context.Context) (string, error) {
	if !in.Tools.Available() {
		return "", ErrNoSystemProxy
	}
	asked, err := TrustRoots(ctx, in.Paths, in.Tools)
	if err != nil {
		return "", err
	}
	if asked {
		return "the login keychain trusts our roots now", nil
	}
	return "the login keychain trusts our roots", nil
}

func (in *Installer) untrust(ctx context.Context) (string, error) {
	return "our roots removed", UntrustRoots(ctx, in.Paths, in.Tools)
}

func (in *Installer) takeSystemProxy(ctx context.Context) (string, error) {
	adopted, changed, err := TakeSystemProxy(ctx, in.Paths, in.Tools, time.Now())
	in.UpstreamChanged = changed
	if err != nil {
		return "", err
	}
	detail := "the edge, " + EdgeAddress(EdgePort(in.Paths))
	if adopted.Proxy != "" {
		detail += ", which goes through " + adopted.Redacted()
	}
	return detail, nil
}

func (in *Installer) returnSystemProxy(ctx context.Context) (string, error) {
	return "as it was before", ReturnSystemProxy(ctx, in.Paths, in.Tools)
}

// writeShellFiles puts our line into the shells' start-up files. One that
// cannot be written, as where a tool generates them, is told and no failure.
func (in *Installer) writeShellFiles(context.Context) (string, error) {
	if in.NoShellRC {
		if err := noteShellFiles(in.Paths, in.noted()); err != nil {
			return "", err
		}
		return "left alone; evaluate \"halton-meter env\" where you want it", nil
	}
	if err := noteShellFiles(in.Paths, in.ShellFiles); err != nil {
		return "", err
	}
	var told []string
	for _, f := range in.ShellFiles {
		_, err := f.Install()
		switch {
		case errors.Is(err, shellenv.ErrBrokenBlock):
			return "", err
		case err != nil:
			told = append(told, fmt.Sprintf("%v: add this line to %s yourself: %s", err, f.Path, f.Line))
		default:
			told = append(told, f.Path)
		}
	}
	if len(told) == 0 {
		return "none of a shell that we know; evaluate \"halton-meter env\" in yours", nil
	}
	return strings.Join(told, ", ") + " (new shells)", nil
}

// noted are those of the shell files that have our line from before.
func (in *Installer) noted() []shellenv.RCFile {
	var files []shellenv.RCFile
	for _, f := range in.ShellFiles {
		if there, _, err := f.Installed(); there && err == nil {
			files = append(files, f)
		}
	}
	return files
}

func (in *Installer) cleanShellFiles(context.Context) (string, error) {
	var told []string
	for _, f := range in.ShellFiles {
		if _, err := f.Remove(); err != nil {
			told = append(told, fmt.Sprintf("%v: remove the lines of the halton-meter block from %s yourself", err, f.Path))
		}
	}
	if len(told) > 0 {
		// The note stays, so that the next init tries again.
		return strings.Join(told, ", "), nil
	}
	if err := os.Remove(in.Paths.shellFilesNote()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return "our line removed", nil
}

func (in *Installer) shellFilesHoldUs() bool {
	for _, f := range in.ShellFiles {
		if there, _, err := f.Installed(); there || err != nil && !errors.Is(err, fs.ErrPermission) {
			return true
		}
	}
	return false
}

func (in *Installer) setLogin(ctx context.Context) (string, error) {
	names, err := SetLoginEnvironment(ctx, in.Paths, in.Supervisor)
	return strings.Join(names, ", ") + " (GUI programs that start from now on)", err
}

func (in *Installer) clearLogin(ctx context.Context) (string, error) {
	return "our variables removed", ClearLoginEnvironment(ctx, in.Paths, in.Supervisor)
}
