package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/mactools"
	"github.com/haltonlabs/halton-meter/internal/filelock"
	"github.com/haltonlabs/halton-meter/portalloc"
)

// app is what the commands share.
type app struct {
	paths      agents.Paths
	supervisor agents.Supervisor
	tools      mactools.Tools
	now        func() time.Time
	// lost is why the paths are not known, as without HOME. Only run and env go
	// on then: what they do for must not fail for us.
	lost error
}

func newApp(p agents.Paths) *app {
	return &app{paths: p, supervisor: agents.FindSupervisor(p, os.Getenv), tools: mactools.Tools{Dir: os.Getenv("HALTON_METER_MACTOOLS")}, now: time.Now}
}

// config reads the configuration; a broken one stops the command, because it
// would do something else than the user wrote.
func (a *app) config() (config.Config, error) {
	c, err := config.Load(a.paths.Config())
	if err != nil {
		return c, &failure{err: err, hint: "mend " + a.paths.Config() + " or move it away"}
	}
	return c, nil
}

// ports is the daemon's own record of its ports, if that daemon lives.
func (a *app) ports() (portalloc.Record, bool) {
	rec, err := portalloc.ReadRecord(a.paths.Ports())
	return rec, err == nil && rec.Live()
}

// lockBudget is how long a command waits for another one to be done. The
// longest is a stop that drains.
const lockBudget = 75 * time.Second

// exclusive keeps two commands from changing the installation at once: the
// second waits for the first, since both were meant. The lock is on the state
// directory itself, so it leaves no file behind.
func (a *app) exclusive(ctx context.Context, budget time.Duration) (unlock func(), err error) {
	if err := a.mayEnter(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(a.paths.State, 0o700); err != nil {
		return nil, &failure{err: fmt.Errorf("make the state directory: %w", err), hint: "HOME, or HALTON_METER_HOME, must name a place that you can write to"}
	}
	// A reader that goes away, as "| head" does, must not end a command that is
	// half through. Caught, and not ignored: what run becomes must not inherit it.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	l, err := filelock.Wait(ctx, a.paths.State)
	if err != nil {
		return nil, &failure{err: err, hint: "another halton-meter command is at work; try again when it is done"}
	}
	return func() { l.Unlock() }, nil
}
