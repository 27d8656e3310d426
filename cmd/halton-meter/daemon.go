package main

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/meter"
)

type daemonCmd struct{}

func (daemonCmd) Run(ctx context.Context, a *app) error {
	log := jobLogger(a.paths, agents.Daemon)
	if left, stopped := agents.Stopped(a.paths, a.now()); stopped {
		// "halton-meter stop" was a moment ago, and it was meant.
		log.Info("daemon.stays_down", "reason", "halton-meter stop", "seconds_left", int(left/time.Second)+1)
		return nil
	}
	cleanEnvironment(a.paths)
	// Hundreds of streams are mostly buffers that live as long as they do, and
	// garbage comes slowly: with the usual 100 the heap would be twice of it.
	debug.SetGCPercent(40)
	conf, err := a.config()
	if err != nil {
		return err
	}
	if conf.Upstream, err = agents.Upstream(a.paths, conf); err != nil {
		log.Error("daemon.upstream.ignored", "error", err.Error())
	}
	pool, err := roots(a.paths, conf)
	if err != nil {
		return err
	}
	dial, err := dialer(conf, pool)
	if err != nil {
		return err
	}
	book, err := conf.Book()
	if err != nil {
		return err
	}
	table, err := conf.Table()
	if err != nil {
		return err
	}
	go a.resumeProxy(ctx, log)
	err = meter.Run(ctx, meter.Config{
		Dir:            a.paths.State,
		Internal:       agents.InternalChoice(conf.Daemon.InternalPort),
		API:            agents.APIChoice(conf.Daemon.APIPort),
		EdgePort:       agents.EdgePort(a.paths),
		DefaultProject: conf.Tagging.DefaultProject,
		KeepDays:       conf.Ledger.KeepDays,
		Providers:      table,
		Prices:         book,
		IncludeUsage:   conf.OpenAI.IncludeUsage,
		Dial:           dial,
		RootCAs:        pool,
		Logger:         log,
	})
	if err != nil {
		log.Error("daemon.failed", "error", err.Error())
		return &failure{err: errors.New("the daemon failed"), code: exitFailed, silent: true}
	}
	return nil
}
