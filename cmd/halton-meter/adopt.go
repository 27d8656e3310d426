package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/upstream"
	"github.com/haltonlabs/halton-meter/launchd"
)

// adoptProxy has the edge and the daemon go through the proxy that the user's
// environment names, before that environment is pointed at the edge. It takes
// as long as an upgrade in place, once; an error means that a program that
// needs its proxy is better left alone.
func (a *app) adoptProxy(ctx context.Context, getenv func(string) string) error {
	conf, err := config.Load(a.paths.Config())
	if err != nil {
		return err
	}
	found, err := agents.ForeignProxy(ctx, a.paths, conf, getenv)
	if err != nil || found.Proxy == "" {
		return err
	}
	if agents.ProxyAnswers(ctx, found.Proxy) != nil {
		return fmt.Errorf("%s names %s, which does not answer", found.From, found.Redacted())
	}
	unlock, err := a.exclusive(ctx, lockBudget)
	if err != nil {
		return err
	}
	defer unlock()
	if have, err := upstream.Read(a.paths.Upstream()); err == nil && have.Same(found) {
		return nil // another run was at work, and is done
	}
	found.At = a.now().UTC()
	if err := agents.AdoptUpstream(a.paths, found); err != nil {
		return err
	}
	if err := agents.ReloadEdge(ctx, a.paths); err != nil {
		return fmt.Errorf("have the edge go through %s: %w", found.Redacted(), err)
	}
	// The daemon may well be down: then the next one goes that way.
	target := a.supervisor.Target(agents.Daemon)
	if svc, err := a.supervisor.Print(ctx, target); errors.Is(err, launchd.ErrNotLoaded) || err == nil && svc.PID == 0 {
		a.renewed(agents.Daemon)
		return nil
	} else if err != nil {
		return err
	}
	if _, err = a.supervisor.Restart(ctx, target); err != nil {
		return err
	}
	a.renewed(agents.Daemon)
	return nil
}
