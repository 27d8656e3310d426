package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/term"
)

type rescueCmd struct {
	Apps   bool `xor:"mode" help:"Rebuild in mode apps."`
	Full   bool `xor:"mode" help:"Rebuild in mode full."`
	NoApps bool `xor:"mode" help:"Rebuild in mode env-only."`
}

func (rescueCmd) Help() string {
	return "When nothing else helps: it unloads all jobs, ends what is left of our processes, and sets everything up anew, in the mode that was installed unless a flag names another. The ledger, config.toml and the certificate authority with its trust stay. For a second or two programs that use the edge fail; try \"halton-meter doctor --fix --apply\" first. What the modes mean is in \"halton-meter init --help\"."
}

// portsBudget is how long rescue waits for the ports of what it has ended.
const portsBudget = 2 * time.Second

func (c rescueCmd) Run(ctx context.Context, a *app) error {
	mode := a.installedMode()
	switch {
	case c.Apps:
		mode = agents.ModeApps
	case c.Full:
		mode = agents.ModeFull
	case c.NoApps:
		mode = agents.ModeEnvOnly
	}
	if mode == "" {
		return &failure{err: errors.New("nothing was ever installed here, so there is nothing to rescue"), hint: "halton-meter init", code: exitNotInstalled}
	}
	// Before anything is torn down.
	if err := (initCmd{}).allowed(ctx, a, mode); err != nil {
		return err
	}
	unlock, err := a.exclusive(ctx, lockBudget)
	if err != nil {
		return err
	}
	defer unlock()
	// Where the system has no launchd, the program is what jobs are unloaded
	// with.
	if in, err := a.installer(); err != nil {
		return err
	} else if _, err := in.Program(ctx); err != nil {
		return &failure{err: fmt.Errorf("put the program back: %w", err), hint: "halton-meter doctor"}
	}
	if err := a.wakeSupervisor(ctx); err != nil {
		return err
	}
	steps := term.NewSteps(os.Stdout, len("watchdog unloaded"))
	defer steps.Close()
	a.clearAway(ctx, steps)
	if err := removeAll(append(a.plists(), a.paths.GracefulShutdown(), a.paths.Ports(), a.paths.Postmortem(), a.paths.Uninstalled())...); err != nil {
		return err
	}
	steps.Done("cleared", "jobs, plists and marks")
	steps.Close()
	return a.setUpAs(ctx, setup{mode: mode, clean: true})
}

// installedMode is the recorded mode; where the record is lost, what lies
// about tells it.
func (a *app) installedMode() string {
	mode := a.paths.Mode()
	switch {
	case agents.KnownMode(mode):
		return mode
	case there(a.paths.ProxyManaged()):
		return agents.ModeFull
	case there(a.paths.AppsManaged()):
		return agents.ModeApps
	}
	if slices.ContainsFunc(append(a.plists(), a.paths.Program(), a.paths.EdgeKey()), there) {
		return agents.ModeEnvOnly
	}
	return ""
}

// clearAway unloads all jobs and ends our processes, whatever fails.
func (a *app) clearAway(ctx context.Context, steps *term.Steps) {
	for _, label := range agents.Labels {
		steps.Waiting("unloading " + agents.ShortName(label))
		if _, err := a.unload(ctx, label); err != nil {
			term.Warn(os.Stderr, "unload %s: %v", agents.ShortName(label), err)
		}
	}
	for _, s := range agents.Strays(ctx, a.paths) {
		if err := s.End(ctx, portsBudget); err != nil {
			term.Warn(os.Stderr, "end %s (process %d): %v", s.Name, s.PID, err)
		} else {
			steps.Done(s.Name+" ended", fmt.Sprintf("process %d", s.PID))
		}
	}
}
