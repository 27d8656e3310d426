package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/meter/watchdog"
)

type watchdogCmd struct{}

// Run watches the daemon, and in mode full the edge too. While one of them is
// dead the system proxy is taken away, if it is ours; in the other modes there
// is nothing to take, and a transition is only logged.
func (watchdogCmd) Run(ctx context.Context, a *app) error {
	cleanEnvironment(a.paths)
	log := jobLogger(a.paths, agents.Watchdog)
	w := &watchdog.Watchdog{
		Probe:  a.probeAll,
		Down:   func(ctx context.Context) error { return agents.ReleaseSystemProxy(ctx, a.paths, a.tools) },
		Up:     func(ctx context.Context) error { return agents.ResumeSystemProxy(ctx, a.paths, a.tools) },
		Logger: log,
	}
	w.StartDown = a.proxyReleased(ctx, log)
	return w.Run(ctx)
}

// proxyReleased reports whether a watchdog before this one has taken the
// system proxy away.
func (a *app) proxyReleased(ctx context.Context, log *slog.Logger) bool {
	if _, err := os.Stat(a.paths.ProxyManaged()); err != nil || !a.tools.Available() {
		return false
	}
	on, err := a.tools.PointsAt(ctx, agents.SystemEdge(a.paths))
	if err != nil {
		log.Warn("watchdog.proxy.unreadable", "error", err.Error())
	}
	return err == nil && len(on) == 0
}

// probeAll is nil if all that the machine's traffic depends on answers. Only
// while the system proxy is ours does that depend on the edge.
func (a *app) probeAll(ctx context.Context) error {
	if _, err := os.Stat(a.paths.ProxyManaged()); err == nil {
		if err := agents.EdgeAnswers(ctx, a.paths, agents.EdgePort(a.paths)); err != nil {
			// Whoever else is on its port is no answer either.
			return fmt.Errorf("probe edge: %w: %w", err, syscall.ECONNREFUSED)
		}
	}
	return a.probeDaemon(ctx)
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

// resumeProxy turns a system proxy that is ours on again as soon as the daemon
// is healthy. The watchdog does so on recovery; at start there may be none yet.
func (a *app) resumeProxy(ctx context.Context, log *slog.Logger) {
	if _, err := os.Stat(a.paths.ProxyManaged()); err != nil || !a.tools.Available() {
		return
	}
	for {
		if rec, live := a.ports(); live && rec.PID == os.Getpid() && healthy(ctx, rec.Ports["api"]) == nil {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
	if err := agents.ResumeSystemProxy(ctx, a.paths, a.tools); err != nil {
		log.Warn("daemon.proxy.off", "error", err.Error())
	}
}
