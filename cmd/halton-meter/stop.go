package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/term"
	"github.com/haltonlabs/halton-meter/launchd"
)

type stopCmd struct{}

func (stopCmd) Help() string {
	return "The daemon finishes what is open (60 s at most) and stores it; then it and the watchdog are unloaded. The edge stays and passes traffic on, unmetered. Stopping twice is no error."
}

func (stopCmd) Run(ctx context.Context, a *app) error {
	if err := a.asYourself("halton-meter stop"); err != nil {
		return err
	}
	if a.paths.Mode() == "" {
		if err := a.mayEnter(); err != nil {
			return err
		}
		return notInstalled()
	}
	unlock, err := a.exclusive(ctx, lockBudget)
	if err != nil {
		return err
	}
	defer unlock()
	// First the sentinel: nothing may start the daemon again in between.
	if err := agents.WriteStop(a.paths, a.now()); err != nil {
		// A full disk must not decide whether a stop stops.
		term.Warn(os.Stderr, "a daemon that something starts in the next 30 s will run: %v", err)
	}
	steps := term.NewSteps(os.Stdout, len("watchdog stopped"))
	defer steps.Close()
	for _, label := range []string{agents.Daemon, agents.Watchdog} {
		name := agents.ShortName(label)
		steps.Waiting("stopping " + name)
		was, err := a.unload(ctx, label)
		if err != nil {
			return &failure{err: fmt.Errorf("stop %s: %w", name, err), hint: a.hintFor(err, "halton-meter stop")}
		}
		if was {
			steps.Done(name+" stopped", label)
		} else {
			steps.Done(name+" stopped", label+" (was not loaded)")
		}
	}
	return nil
}

// unload boots the job out, waits until it is gone, and tells whether it was
// there.
func (a *app) unload(ctx context.Context, label string) (was bool, err error) {
	target := a.supervisor.Target(label)
	if _, err := a.supervisor.Print(ctx, target); errors.Is(err, launchd.ErrNotLoaded) {
		a.renewed(label)
		return false, nil
	} else if err != nil {
		return false, err
	}
	if err := a.supervisor.Bootout(ctx, target); err != nil {
		return true, err
	}
	a.renewed(label)
	return true, nil
}

// renewed notes that the job's next run is up to date. Without that note, as
// on a full disk, the next init restarts it once more.
func (a *app) renewed(label string) { _ = agents.Renewed(a.paths, label) }

func notInstalled() error {
	return &failure{err: errors.New("halton-meter is not set up"), hint: "halton-meter init", code: exitNotInstalled}
}
