package agents

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/mactools"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
	"github.com/haltonlabs/halton-meter/internal/atomicfile"
	"github.com/haltonlabs/halton-meter/internal/reserved"
	"github.com/haltonlabs/halton-meter/internal/secret"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/meter/ca"
	"github.com/haltonlabs/halton-meter/portalloc"
)

// ModeEnvOnly is the install mode in which nothing on the machine is changed
// but our own files: only "halton-meter run" leads traffic through the edge.
const ModeEnvOnly = "env-only"

// BootstrapBudget is how long a bootstrap is tried again.
const BootstrapBudget = 25 * time.Second

// Installer sets the product up. Every step may be done again.
type Installer struct {
	Paths      Paths
	Config     config.Config
	Supervisor Supervisor
	// Executable is the program to install; jobs run a copy of it.
	Executable string
	// Getenv is the environment of the command that installs.
	Getenv func(string) string

	// Mode is the install mode, "" for [ModeEnvOnly].
	Mode string
	// Tools are those of macOS, for [ModeFull].
	Tools mactools.Tools
	// ShellFiles get our line in the modes apps and full, unless NoShellRC.
	ShellFiles []shellenv.RCFile
	NoShellRC  bool

	// UpstreamChanged is set when the system proxy became the way to the
	// providers, after the edge was brought up: it must take that up.
	UpstreamChanged bool

	edgePort int // chosen by the step "launch agents"
}

// Step is one step of the installation; it returns what to tell of it.
type Step struct {
	Name string
	Do   func(context.Context) (string, error)
}

// Steps are the steps of every installation, in order.
func (in *Installer) Steps() []Step {
	return []Step{
		{"state directory", in.stateDirectory},
		{"program", in.Program},
		{"keys", in.keys},
		{"certificate authority", in.authority},
		{"trust bundle", in.bundle},
		{"upstream", func(ctx context.Context) (string, error) { return in.adoptUpstream(ctx, time.Now()) }},
		{"launch agents", in.plists},
		{"install mode", in.WriteMode},
		{"login agent", in.loadUserEnv},
		{"edge", in.BringUpEdge},
	}
}

func (in *Installer) stateDirectory(context.Context) (string, error) {
	if err := os.MkdirAll(in.Paths.State, 0o700); err != nil {
		return "", err
	}
	// They may be older than this installation, and made with another umask.
	for _, dir := range in.Paths.Directories() {
		if err := os.Chmod(dir, 0o700); err != nil && !errors.Is(err, os.ErrNotExist) { //nolint:gosec // a directory needs its x bit
			return "", err
		}
	}
	return in.Paths.State, nil
}

// Program puts the copy in place that the jobs run.
func (in *Installer) Program(context.Context) (string, error) {
	to := in.Paths.Program()
	same, err := SameProgram(in.Executable, to)
	if err != nil || same {
		return to, err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return "", err
	}
	if err := MarkOutdated(in.Paths, Daemon, Watchdog); err != nil {
		return "", err
	}
	return to, atomicfile.Copy(to, in.Executable, 0o755)
}

func (in *Installer) keys(context.Context) (string, error) {
	if err := secret.Ensure(in.Paths.EdgeKey()); err != nil {
		return "", err
	}
	return "edge-key, api-token", secret.Ensure(in.Paths.Token())
}

func (in *Installer) authority(context.Context) (string, error) {
	dir := in.Paths.CA()
	table, err := in.Config.Table()
	if err != nil {
		return "", err
	}
	hosts := table.Hosts()
	if _, err := os.Stat(filepath.Join(dir, "ca.pem")); errors.Is(err, os.ErrNotExist) {
		if err := ca.Create(dir, append(hosts, reserved.Metered)); err != nil {
			return "", err
		}
		if in.ranBefore() {
			// Programs run that trust the one that is gone.
			if err := ca.MarkReplaced(dir); err != nil {
				return "", err
			}
		}
		return "created, for " + strconv.Itoa(len(hosts)) + " hosts", nil
	}
	if _, err := ca.Load(dir); err != nil {
		return "", err
	}
	return "kept", extendAuthority(in.Paths, in.Config)
}

// ranBefore reports whether there was an installation before these steps.
func (in *Installer) ranBefore() bool {
	for _, path := range []string{in.Paths.InstallMode(), in.Paths.Plist(Edge), in.Paths.In("db.sqlite")} {
		if _, err := os.Stat(path); err == nil {
			return true
		}
	}
	return false
}

func (in *Installer) bundle(ctx context.Context) (string, error) {
	return in.Paths.Bundle(), EnsureBundle(in.Paths, in.Config, in.wholeEnvironment(ctx))
}

// wholeEnvironment is the command's, and for what that lacks launchd's, in the
// modes in which we take variables of that one: what GUI programs had must not
// be lost.
func (in *Installer) wholeEnvironment(ctx context.Context) func(string) string {
	if in.Mode != ModeApps && in.Mode != ModeFull {
		return in.Getenv
	}
	return func(name string) string {
		if v := in.Getenv(name); v != "" {
			return v
		}
		v, err := in.Supervisor.Getenv(ctx, name)
		if err != nil {
			return "" // it has none yet; what is wrong with it comes out later
		}
		return v
	}
}

// WriteMode records the install mode.
func (in *Installer) WriteMode(context.Context) (string, error) {
	if err := os.Remove(in.Paths.Uninstalled()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	mode := cmp.Or(in.Mode, ModeEnvOnly)
	if mode == in.Paths.Mode() {
		return mode, nil // on a full disk too
	}
	return mode, atomicfile.Write(in.Paths.InstallMode(), []byte(mode+"\n"), 0o600)
}

// plists writes the plists. The edge keeps the port that it has; BringUpEdge
// writes its plist, together with loading it.
func (in *Installer) plists(ctx context.Context) (string, error) {
	before := EdgePort(in.Paths)
	port, err := in.chooseEdgePort(ctx)
	if err != nil {
		return "", err
	}
	in.edgePort = port
	for label, job := range Jobs(in.Paths, port) {
		if label == Edge {
			continue
		}
		if err := in.writePlist(label, job); err != nil {
			return "", err
		}
	}
	detail := "edge on " + EdgeAddress(port) + in.whyNot(ctx, port)
	if before != 0 && before != port {
		detail += fmt.Sprintf("; it was on %d: programs that run hold that port, start them anew", before)
	}
	return detail, nil
}

// whyNot says who has the port that the edge would rather have.
func (in *Installer) whyNot(ctx context.Context, port int) string {
	wanted := EdgeChoice(in.Config.Daemon.EdgePort).Preferred
	if port == wanted {
		return ""
	}
	h := portalloc.FindHolder(ctx, wanted)
	switch {
	case h.PID != 0 && h.User != "":
		return fmt.Sprintf(", since %s (process %d, user %s) has %d", h.Command, h.PID, h.User, wanted)
	case portInUse(wanted):
		return fmt.Sprintf(", since %d is taken, perhaps by the meter of another user", wanted)
	}
	return ""
}

// IsInstalled reports whether the jobs run this program.
func (in *Installer) IsInstalled() bool {
	same, err := SameProgram(in.Executable, in.Paths.Program())
	return err == nil && same
}

// HasPlist reports whether the label's plist is there, as this version writes
// it.
func (in *Installer) HasPlist(label string) bool {
	return in.plistIs(label, Jobs(in.Paths, EdgePort(in.Paths))[label])
}

// WritePlist writes the label's plist.
func (in *Installer) WritePlist(label string) error {
	return in.writePlist(label, Jobs(in.Paths, EdgePort(in.Paths))[label])
}

func (in *Installer) writePlist(label string, job *launchd.Job) error {
	data, err := job.Encode()
	if err != nil {
		return err
	}
	path := in.Paths.Plist(label)
	if old, err := smallfile.Read(path, smallfile.Max); err == nil && bytes.Equal(old, data) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as macOS makes ~/Library/LaunchAgents
		return err
	}
	if err := MarkOutdated(in.Paths, label); err != nil {
		return err
	}
	return atomicfile.Write(path, data, 0o644)
}

// loadUserEnv registers the login agent, so that this session is like the
// ones that begin with a login.
func (in *Installer) loadUserEnv(ctx context.Context) (string, error) {
	_, err := in.Supervisor.Load(ctx, in.Supervisor.Domain, in.Paths.Plist(UserEnv), in.loadOptions())
	return UserEnv, err
}

func (in *Installer) loadOptions() launchd.LoadOptions {
	return launchd.LoadOptions{Budget: BootstrapBudget, Postmortem: in.Paths.Postmortem()}
}
