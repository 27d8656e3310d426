package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/term"
)

// setup is one run of init, or the part of rescue that builds anew.
type setup struct {
	mode      string
	noShellRC bool
	// clean: a self-test that fails undoes the change, else it is mended in
	// place.
	clean bool
}

// setUpAs installs in a mode, brings everything up and tests it. The caller
// holds the lock.
func (a *app) setUpAs(ctx context.Context, s setup) error {
	before := a.paths.Mode()
	in, err := a.installer()
	if err != nil {
		return err
	}
	in.Mode, in.NoShellRC = s.mode, s.noShellRC
	again := "halton-meter init" + modeFlag(s.mode)
	steps := in.Steps()
	outer := in.OuterSteps()
	n, total := 0, len(steps)+len(outer)+2
	do := func(name string, step func(context.Context) (string, error)) error {
		detail, err := step(ctx)
		if err != nil {
			return &failure{err: fmt.Errorf("set up %s: %w", name, err), hint: a.hintFor(err, again)}
		}
		n++
		fmt.Printf("%d/%d %-22s %s\n", n, total, name, term.StylesFor(os.Stdout).Faint(detail))
		return nil
	}
	for _, step := range append(steps, outer...) {
		if err := do(step.Name, step.Do); err != nil {
			return err
		}
	}
	if in.UpstreamChanged {
		// The system proxy that was adopted a moment ago.
		if _, err := in.BringUpEdge(ctx); err != nil {
			return &failure{err: err, hint: a.hintFor(err, again)}
		}
	}
	if err := do("daemon", func(ctx context.Context) (string, error) { return a.renewDaemon(ctx, in) }); err != nil {
		return err
	}
	if err := do("self-test", a.selfTest); err != nil {
		return a.selfTestFailed(ctx, s, before, err)
	}
	fmt.Println("init complete   mode: " + s.mode)
	return nil
}

func (a *app) installer() (*agents.Installer, error) {
	conf, err := a.config()
	if err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return &agents.Installer{
		Paths: a.paths, Config: conf, Supervisor: a.supervisor, Executable: exe, Getenv: os.Getenv,
		Tools: a.tools, ShellFiles: a.shellFiles(),
	}, nil
}

// install does the steps of the env-only installation in silence, as the first
// start does.
func (a *app) install(ctx context.Context) error {
	in, err := a.installer()
	if err != nil {
		return err
	}
	for _, step := range in.Steps() {
		if _, err := step.Do(ctx); err != nil {
			return &failure{err: fmt.Errorf("set up %s: %w", step.Name, err), hint: a.hintFor(err, "halton-meter init")}
		}
	}
	return nil
}

func modeFlag(mode string) string {
	if mode == agents.ModeEnvOnly {
		return ""
	}
	return " --" + mode
}

// renewDaemon unloads what runs as it was before, which lets open calls end,
// and brings the daemon up. The edge passes traffic on meanwhile.
func (a *app) renewDaemon(ctx context.Context, in *agents.Installer) (string, error) {
	renewed := ""
	for _, label := range in.Outdated() {
		was, err := a.unload(ctx, label)
		if err != nil {
			return "", err
		}
		if was {
			renewed = ", restarted"
		}
	}
	detail, err := a.bringUpDaemon(ctx)
	return detail + renewed, err
}

// bringUpDaemon does what start does, as one step.
func (a *app) bringUpDaemon(ctx context.Context) (string, error) {
	s := &starting{app: a, quiet: true, budget: healthBudget}
	if err := s.bringUp(ctx); err != nil {
		return "", err
	}
	return "healthy, " + s.api, nil
}

// selfTest makes a metered and an unmetered request. The edge's verdict on a
// daemon that has just come up may be 200 ms old, so it is asked again.
func (a *app) selfTest(ctx context.Context) (string, error) {
	if err := agents.TestPassthrough(ctx, a.paths); err != nil {
		return "", err
	}
	var err error
	for range 5 {
		// First the wait: a request that comes too early would count as failed.
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(edgeVerdict):
		}
		if err = agents.TestMetered(ctx, a.paths); err == nil {
			return "a metered and a passthrough request", nil
		}
	}
	return "", err
}

// edgeVerdict is a little more than the time for which the edge holds a daemon
// for dead without asking again.
const edgeVerdict = 250 * time.Millisecond

// selfTestFailed undoes what was set up, or restarts what may be at fault and
// tests once more. It says which.
func (a *app) selfTestFailed(ctx context.Context, s setup, before string, failed error) error {
	if !s.clean {
		term.Warn(os.Stderr, "%v; restarting the daemon and testing again", failed)
		if err := a.repair(ctx); err != nil {
			return &failure{err: errors.Join(failed, err), hint: "halton-meter doctor"}
		}
		if _, err := a.selfTest(ctx); err != nil {
			return &failure{err: fmt.Errorf("set up, and not working: %w", err), hint: "halton-meter doctor tells why; halton-meter init --clean undoes it"}
		}
		fmt.Println("init complete   mode: " + s.mode + " (repaired in place)")
		return nil
	}
	steps := term.NewSteps(os.Stderr, len("watchdog unloaded"))
	defer steps.Close()
	err := a.returnMachine(ctx, steps)
	switch before {
	case "":
		err = errors.Join(err, a.unloadAll(ctx, steps, false), removeAll(append(a.plists(), a.paths.InstallMode())...))
		return &failure{err: errors.Join(fmt.Errorf("%w: rolled back, nothing is installed", failed), err), hint: "halton-meter doctor"}
	default:
		in, inErr := a.installer()
		if inErr == nil {
			in.Mode, in.NoShellRC = before, s.noShellRC
			for _, step := range append([]agents.Step{{Name: "install mode", Do: in.WriteMode}}, in.OuterSteps()...) {
				_, stepErr := step.Do(ctx)
				err = errors.Join(err, stepErr)
			}
		}
		return &failure{err: errors.Join(fmt.Errorf("%w: rolled back to mode %s", failed, before), err, inErr), hint: "halton-meter doctor"}
	}
}

// repair restarts the daemon; the edge is never at fault for long, since it
// holds no state.
func (a *app) repair(ctx context.Context) error {
	if _, err := a.supervisor.Restart(ctx, a.supervisor.Target(agents.Daemon)); err != nil {
		return err
	}
	_, err := a.bringUpDaemon(ctx)
	return err
}
