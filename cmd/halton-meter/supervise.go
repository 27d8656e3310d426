package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/term"
)

// busHint is for a user without a manager, as over ssh without lingering.
const busHint = "export XDG_RUNTIME_DIR=/run/user/$(id -u); if there is no such directory, sudo loginctl enable-linger $USER"

// superviseBy moves the jobs to systemd or back, nil for neither. Between the
// one and the other nothing of ours runs: no two supervisors can share an edge.
// The caller holds the lock, and sets up afterwards.
func (a *app) superviseBy(ctx context.Context, bySystemd *bool) error {
	if bySystemd == nil || *bySystemd == (a.supervisor.Name == agents.Systemd) {
		return nil
	}
	if runtime.GOOS == "darwin" {
		return &failure{err: errors.New("macOS has launchd, and no systemd"), hint: "halton-meter init", code: exitUsage}
	}
	units := agents.Units(a.paths)
	to := agents.EmulatorSupervisor(a.paths)
	if *bySystemd {
		to = agents.SystemdSupervisor(a.paths)
		if err := units.Check(ctx); errors.Is(err, exec.ErrNotFound) {
			return &failure{err: errors.New("this system has no systemctl, so no systemd"), hint: "halton-meter init"}
		} else if err != nil {
			return &failure{err: fmt.Errorf("reach systemd's user manager: %w", err), hint: busHint + ", then halton-meter init --systemd"}
		}
	}
	steps := term.NewSteps(os.Stdout, len("watchdog unloaded"))
	defer steps.Close()
	if _, err := os.Stat(a.paths.AppsManaged()); err == nil && a.supervisor.Reachable() {
		// The other one has an environment of its own.
		if err := agents.ClearLoginEnvironment(ctx, a.paths, a.supervisor); err != nil {
			return err
		}
	}
	if err := a.unloadAll(ctx, steps, false); err != nil {
		return err
	}
	if !*bySystemd {
		if err := units.Remove(ctx, agents.Labels...); err != nil {
			return fmt.Errorf("remove units: %w", err)
		}
	}
	a.supervisor = to
	return nil
}

// superviseAgain goes back to the supervisor of before if the new one did not
// get the edge up: shells that are open hold its port. mode is what was
// installed.
func (a *app) superviseAgain(ctx context.Context, before agents.Supervisor, mode string, failed error) error {
	if a.supervisor.Name == before.Name || mode == "" || ctx.Err() != nil ||
		agents.EdgeAnswers(ctx, a.paths, agents.EdgePort(a.paths)) == nil {
		return failed
	}
	steps := term.NewSteps(os.Stdout, len("watchdog unloaded"))
	err := a.unloadAll(ctx, steps, false)
	steps.Close()
	term.Warn(os.Stderr, "%v; going back to %s", failed, before.Name)
	if a.supervisor.Name == agents.Systemd {
		err = errors.Join(err, agents.Units(a.paths).Remove(ctx, agents.Labels...))
	}
	a.supervisor = before
	return told(failed, "supervised by "+before.Name+" as before", errors.Join(err, a.setUpAs(ctx, setup{mode: mode})))
}
