package main

import (
	"context"
	"fmt"
	"net/http"
	"syscall"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/meter/watchdog"
)

type watchdogCmd struct{}

// Run watches the daemon's health. In env-only mode no system proxy is ours,
// so there is nothing to take away, and a transition is only logged.
func (watchdogCmd) Run(ctx context.Context, a *app) error {
	cleanEnvironment(a.paths)
	w := &watchdog.Watchdog{
		Probe:  a.probeDaemon,
		Logger: jobLogger(a.paths, agents.Watchdog),
	}
	return w.Run(ctx)
}

// probeDaemon is nil if the daemon answers at all: a 503 is an answer.
func (a *app) probeDaemon(ctx context.Context) error {
	rec, live := a.ports()
	if !live {
		// Nobody listens where a daemon that is dead did.
		return fmt.Errorf("probe daemon: %w: %w", errNoDaemon, syscall.ECONNREFUSED)
	}
	resp, err := ask(ctx, http.MethodGet, rec.Ports["api"], "/health", "")
	if err != nil {
		return fmt.Errorf("probe daemon: %w", err)
	}
	return resp.Body.Close()
}
