package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	xterm "golang.org/x/term"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/term"
	"github.com/haltonlabs/halton-meter/internal/atomicfile"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
)

type uninstallCmd struct {
	Purge       bool  `help:"Also delete the state directory, except the ledger."`
	IncludeLogs bool  `help:"With --purge: also delete the ledger, the log of all calls."`
	Yes         bool  `help:"Do not ask."`
	Graceful    *bool `negatable:"" help:"Leave the edge running until you log out, so that open shells keep their connection. The default in the modes apps and full."`
}

func (uninstallCmd) Help() string {
	return `It puts back the system proxy, launchd's environment, the shell files and the keychain, unloads the launch agents and deletes their plists. Configuration, certificate authority and ledger stay, unless --purge; the ledger stays even then, unless --include-logs. With --no-graceful, shells that still hold the proxy variable lose their connection: open new ones.

  halton-meter uninstall                                  # keeps configuration and ledger
  halton-meter uninstall --purge --include-logs --yes     # keeps nothing`
}

// graceful is whether the edge stays: in env-only mode no shell holds the
// proxy, but the programs that "run" started.
func (c uninstallCmd) graceful(mode string) bool {
	if c.Graceful != nil {
		return *c.Graceful
	}
	return mode == agents.ModeApps || mode == agents.ModeFull
}

func (c uninstallCmd) Run(ctx context.Context, a *app) error {
	if c.IncludeLogs && !c.Purge {
		return &failure{err: errors.New("--include-logs goes with --purge"), hint: "halton-meter uninstall --purge --include-logs", code: exitUsage}
	}
	if c.IncludeLogs && !c.Yes {
		ok, err := confirm("Delete the ledger, with every call that was metered?")
		if err != nil {
			return err
		}
		if !ok {
			return &failure{err: errors.New("nothing was removed"), hint: "halton-meter uninstall --purge keeps the ledger"}
		}
	}
	_, err := os.Stat(a.paths.State)
	lost := errors.Is(err, fs.ErrNotExist)
	if lost && !slices.ContainsFunc(a.plists(), there) {
		fmt.Println("nothing is installed")
		return removeAll(a.paths.Uninstalled())
	}
	unlock, err := a.exclusive(ctx, lockBudget)
	if err != nil {
		return err
	}
	defer unlock()
	steps := term.NewSteps(os.Stdout, len("watchdog unloaded"))
	defer steps.Close()
	if err := a.wakeSupervisor(ctx); err != nil {
		return err
	}
	if lost {
		// There is nothing to keep.
		c.Purge = true
		a.callOrphansHome(ctx, steps)
	}
	// First what leads programs to the edge, then the edge.
	if err := a.returnMachine(ctx, steps); err != nil {
		return err
	}
	graceful := c.graceful(a.paths.Mode()) || c.Graceful == nil && a.edgeWasKept(ctx)
	if err := a.unloadAll(ctx, steps, graceful); err != nil {
		return err
	}
	if err := removeAll(append(a.plists(), a.paths.InstallMode(), a.paths.GracefulShutdown(),
		a.paths.ProxyManaged(), a.paths.AppsManaged())...); err != nil {
		return err
	}
	if a.supervisor.Name == agents.Systemd {
		if err := agents.Units(a.paths).Remove(ctx, agents.Labels...); err != nil {
			return &failure{err: fmt.Errorf("remove units: %w", err), hint: a.hintFor(err, "halton-meter uninstall")}
		}
		steps.Done("units removed", agents.Units(a.paths).Dir)
	}
	steps.Done("plists removed", filepath.Dir(a.paths.Plist(agents.Daemon)))
	if runtime.GOOS != "darwin" {
		// Only macOS has these folders anyway. One that is not empty stays.
		launchAgents := filepath.Dir(a.paths.Plist(agents.Daemon))
		_ = os.Remove(launchAgents)
		_ = os.Remove(filepath.Dir(launchAgents))
	}
	if !c.Purge {
		note := "halton-meter was uninstalled at " + a.now().UTC().Format(time.RFC3339) + "; \"halton-meter init\" sets it up again.\n"
		return atomicfile.Write(a.paths.Uninstalled(), []byte(note), 0o600)
	}
	left, err := c.purge(a)
	if err != nil {
		return err
	}
	steps.Done("state removed", a.paths.State)
	if !c.IncludeLogs && there(a.paths.In("db.sqlite")) {
		steps.Done("ledger kept", a.paths.In("db.sqlite")+" (--purge --include-logs deletes it)")
	}
	if len(left) > 0 {
		steps.Done("left alone", strings.Join(left, ", ")+" in "+a.paths.State+", which is not ours")
	}
	return nil
}

// unloadAll boots the jobs out. Where the supervisor's program is gone there
// is nothing that could be loaded by it.
func (a *app) unloadAll(ctx context.Context, steps *term.Steps, graceful bool) error {
	if !a.supervisor.Reachable() {
		return nil
	}
	for _, label := range agents.Labels {
		name := agents.ShortName(label)
		if graceful && label == agents.Edge {
			steps.Done("edge stays", "until you log out, and passes traffic on")
			continue
		}
		steps.Waiting("unloading " + name)
		was, err := a.unload(ctx, label)
		if err != nil {
			return &failure{err: fmt.Errorf("unload %s: %w", name, err), hint: a.hintFor(err, "halton-meter uninstall")}
		}
		if was {
			steps.Done(name+" unloaded", label)
		}
	}
	if graceful {
		return nil
	}
	if a.supervisor.Name == agents.Emulator {
		if err := emulator.Stop(ctx, a.paths.State); err != nil {
			return err
		}
	}
	for _, s := range agents.Strays(ctx, a.paths) {
		steps.Waiting(fmt.Sprintf("ending %s (process %d)", s.Name, s.PID))
		if err := s.End(ctx, strayGrace); err != nil {
			return err
		}
		steps.Done(s.Name+" ended", fmt.Sprintf("process %d, which launchd did not know", s.PID))
	}
	return nil
}

// strayGrace is what a process of ours that launchd does not know gets to end.
const strayGrace = 10 * time.Second

// returnMachine puts back what lies outside the state directory and leads
// programs to the edge. It goes on after a failure, and tells all of them: each
// thing that is back counts.
func (a *app) returnMachine(ctx context.Context, steps *term.Steps) error {
	var errs []error
	if err := agents.ReturnSystemProxy(ctx, a.paths, a.tools); err != nil {
		errs = append(errs, err)
	}
	if _, err := os.Stat(a.paths.AppsManaged()); err == nil && a.supervisor.Reachable() {
		if err := agents.ClearLoginEnvironment(ctx, a.paths, a.supervisor); err != nil {
			errs = append(errs, err)
		} else {
			steps.Done("environment cleared", "of GUI programs")
		}
	}
	for _, f := range a.shellFiles() {
		changed, err := f.Remove()
		if err != nil {
			errs = append(errs, err)
		} else if changed {
			steps.Done("shell file restored", f.Path)
		}
	}
	if a.tools.Available() {
		// Also where the mode is lost; it asks for nothing if there is no trust.
		if err := agents.UntrustRoots(ctx, a.paths, a.tools); err != nil {
			errs = append(errs, err)
		} else if a.paths.Mode() == agents.ModeFull {
			steps.Done("trust removed", "of the login keychain in our roots")
		}
	}
	if err := errors.Join(errs...); err != nil {
		return &failure{err: err, hint: "undo by hand what is named here, then run it again"}
	}
	return nil
}

// shellFiles are the start-up files that may hold our line.
func (a *app) shellFiles() []shellenv.RCFile {
	return agents.ShellFiles(a.paths, os.Getenv)
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (a *app) plists() []string {
	var paths []string
	for _, label := range agents.Labels {
		paths = append(paths, a.paths.Plist(label))
	}
	return paths
}

func removeAll(paths ...string) error {
	for _, p := range paths {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// confirm asks on the terminal; where there is none it refuses.
func confirm(question string) (bool, error) {
	if !xterm.IsTerminal(int(os.Stdin.Fd())) {
		return false, &failure{err: errors.New("this needs a confirmation, and there is no terminal to ask on"), hint: "add --yes", code: exitUsage}
	}
	fmt.Fprintf(os.Stderr, "%s [y/N] ", question)
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		return false, err
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes", nil
}
