package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/term"
	"github.com/haltonlabs/halton-meter/launchd"
)

// setup is one run of init, or the part of rescue that builds anew.
type setup struct {
	mode string
	// chosen: a flag named the mode, so that what was said of the shells' files
	// when it was installed before does not count.
	chosen    bool
	noShellRC bool
	// clean: a self-test that fails undoes the change, else it is mended in
	// place.
	clean bool
}

// setUpAs installs in a mode, brings everything up and tests it. The caller
// holds the lock.
func (a *app) setUpAs(ctx context.Context, s setup) error {
	in, err := a.installer()
	if err != nil {
		return err
	}
	s.noShellRC = s.noShellRC || !s.chosen && agents.LeavesShellFilesAlone(a.paths)
	in.Mode, in.NoShellRC = s.mode, s.noShellRC
	undo := &rollback{app: a, setup: s, before: a.paths.Mode()}
	if err := undo.prepare(); err != nil {
		return err
	}
	defer undo.done()
	again := "halton-meter init" + modeFlag(s.mode)
	steps := in.Steps()
	outer := in.OuterSteps()
	n, total := 0, len(steps)+len(outer)+2
	progress := term.NewSteps(os.Stdout, 0)
	defer progress.Close()
	do := func(name string, step func(context.Context) (string, error)) error {
		if ctx.Err() != nil {
			return interrupted(ctx, again)
		}
		progress.Waiting(fmt.Sprintf("%d/%d %s", n+1, total, name))
		detail, err := step(ctx)
		if err != nil {
			progress.Close()
		}
		switch {
		case err != nil && ctx.Err() != nil:
			return interrupted(ctx, again)
		case err != nil:
			return &failure{err: fmt.Errorf("set up %s: %w", name, err), hint: a.hintFor(err, again)}
		}
		n++
		progress.Line(fmt.Sprintf("%*d/%d %-22s %s", len(strconv.Itoa(total)), n, total, name, term.StylesFor(os.Stdout).Faint(detail)))
		return nil
	}
	for _, step := range steps {
		if err := do(step.Name, step.Do); err != nil {
			return undo.own(ctx, err)
		}
	}
	for _, step := range outer {
		if err := do(step.Name, step.Do); err != nil {
			return undo.outer(ctx, in, err)
		}
	}
	if in.UpstreamChanged {
		// The system proxy that was adopted a moment ago.
		if _, err := in.BringUpEdge(ctx); err != nil {
			return &failure{err: err, hint: a.hintFor(err, again)}
		}
	}
	err = do("daemon", a.renewDaemon)
	if err == nil {
		err = do("self-test", a.selfTest)
	}
	if err != nil {
		return a.testFailed(ctx, undo, err)
	}
	fmt.Println("init complete   mode: " + s.mode)
	return nil
}

func (a *app) installer() (*agents.Installer, error) {
	conf, err := a.config()
	if err != nil {
		return nil, err
	}
	return a.installerWith(conf)
}

func (a *app) installerWith(conf config.Config) (*agents.Installer, error) {
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
func (a *app) renewDaemon(ctx context.Context) (string, error) {
	renewed := ""
	for _, label := range agents.Outdated(a.paths) {
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

// interrupted is what a step that was cut off says: what failed for it says
// less.
func interrupted(ctx context.Context, again string) error {
	return &failure{err: fmt.Errorf("set up: %w", context.Cause(ctx)), hint: again + " goes on where this ended"}
}

// testFailed undoes what was set up, or restarts what may be at fault and
// tests once more. It says which.
func (a *app) testFailed(ctx context.Context, undo *rollback, failed error) error {
	if ctx.Err() != nil {
		return failed
	}
	if undo.clean {
		return undo.all(ctx, failed)
	}
	term.Warn(os.Stderr, "%v; restarting the daemon and testing again", failed)
	err := a.repair(ctx)
	if err == nil {
		_, err = a.selfTest(ctx)
	}
	if err != nil {
		return &failure{err: fmt.Errorf("set up, and not working: %w", err), hint: "halton-meter doctor tells why; halton-meter init --clean undoes it"}
	}
	fmt.Println("init complete   mode: " + undo.mode + " (repaired in place)")
	return nil
}

// repair restarts the daemon; the edge is never at fault for long, since it
// holds no state.
func (a *app) repair(ctx context.Context) error {
	_, err := a.supervisor.Restart(ctx, a.supervisor.Target(agents.Daemon))
	if err != nil && !errors.Is(err, launchd.ErrNotLoaded) {
		return err
	}
	_, err = a.bringUpDaemon(ctx)
	return err
}
