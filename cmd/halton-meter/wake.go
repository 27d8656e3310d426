package main

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/term"
	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
)

// wakePatience is how long the built-in supervisor may take to answer.
const wakePatience = 5 * time.Second

// wakeSupervisor replaces a built-in supervisor that does not answer. The next
// one takes its jobs over. launchd and systemd are not ours to end.
func (a *app) wakeSupervisor(ctx context.Context) error {
	if a.supervisor.Name != agents.Emulator || emulator.Holder(a.paths.State) == 0 {
		return nil
	}
	asked, cancel := context.WithTimeout(ctx, wakePatience)
	defer cancel()
	_, err := a.supervisor.Print(asked, a.supervisor.Target(agents.Edge))
	if err == nil || errors.Is(err, launchd.ErrNotLoaded) || asked.Err() == nil {
		return nil
	}
	term.Warn(os.Stderr, "the built-in supervisor (process %d) does not answer, and is replaced", emulator.Holder(a.paths.State))
	ending, cancel := context.WithTimeout(ctx, wakePatience)
	defer cancel()
	return emulator.Kill(ending, a.paths.State)
}

// orphansBudget is how long jobs whose directory is gone may take to end.
const orphansBudget = 20 * time.Second

// callOrphansHome ends the jobs of a supervisor whose directory was deleted
// under it: one in a new directory of that name makes it end, with them.
func (a *app) callOrphansHome(ctx context.Context, steps *term.Steps) {
	port := agents.EdgePort(a.paths)
	if a.supervisor.Name != agents.Emulator || port == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, orphansBudget)
	defer cancel()
	steps.Waiting("ending what runs without its directory")
	if err := a.supervisor.Enable(ctx, a.supervisor.Target(agents.Edge)); err != nil {
		term.Warn(os.Stderr, "end what runs without its directory: %v", err)
		return
	}
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", agents.EdgeAddress(port))
		if err != nil {
			return
		}
		conn.Close()
		select {
		case <-ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// edgeWasKept reports whether an uninstall of before has left the edge, for
// programs that hold the proxy.
func (a *app) edgeWasKept(ctx context.Context) bool {
	if !there(a.paths.Uninstalled()) {
		return false
	}
	_, err := a.supervisor.Print(ctx, a.supervisor.Target(agents.Edge))
	return err == nil
}
