package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/edgectl"
	"github.com/haltonlabs/halton-meter/internal/secret"
	"github.com/haltonlabs/halton-meter/internal/version"
	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/portalloc"
	"github.com/haltonlabs/halton-meter/proxyedge"
)

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

type edgeCmd struct {
	Port int `help:"The port on 127.0.0.1." default:"8081"`
}

// Run serves whatever the state directory is like: missing, unreadable, with
// a broken configuration. All that can be lost is metering.
func (c edgeCmd) Run(ctx context.Context, a *app) error {
	cleanEnvironment(a.paths)
	log := edgeLogger(a.paths)
	listeners, err := c.listen(log)
	if err != nil {
		log.Error("edge.listen.failed", "port", c.Port, "error", err.Error())
		return fmt.Errorf("start edge: %w", err)
	}
	conf, err := config.Load(a.paths.Config())
	if err != nil {
		log.Error("edge.config.ignored", "error", err.Error())
	}
	if conf.Upstream, err = agents.Upstream(a.paths, conf); err != nil {
		log.Error("edge.upstream.ignored", "error", err.Error())
	}
	metered := &hosts{config: a.paths.Config(), now: a.now}
	edge := &proxyedge.Edge{
		Metered: metered.has,
		Routes:  routes(metered.table()),
		Daemon:  a.daemonAddress,
		Key: func() []byte {
			key, err := secret.Read(a.paths.EdgeKey())
			if err != nil {
				return nil
			}
			return key
		},
		Logger: log,
	}
	edge.AllowLocal = conf.Edge.AllowLocal
	if pool, err := roots(conf); err != nil {
		log.Error("edge.config.ignored", "error", err.Error())
	} else {
		edge.RootCAs = pool
		if edge.Parent, err = parent(conf, pool); err != nil {
			log.Error("edge.config.ignored", "error", err.Error())
		}
	}
	control := &edgectl.Control{
		Edge: edge, Socket: a.paths.EdgeSocket(), Counters: a.paths.EdgeCounters(),
		Self:   edgectl.Self{PID: os.Getpid(), Port: c.Port, Version: version.Version, StartedAt: a.now()},
		Logger: log,
	}
	defer control.Start(ctx)()
	log.Info("edge.startup.ready", "version", version.Version, "pid", os.Getpid(), "port", c.Port)
	err = serveAll(ctx, edge, listeners)
	log.Info("edge.exit")
	return err
}

// listen takes the socket that launchd holds for the edge, so that nobody is
// refused while the edge is down. Where there is none it binds by itself:
// somebody had the port when the job was loaded, or this is no job.
func (c edgeCmd) listen(log *slog.Logger) ([]net.Listener, error) {
	listeners, err := launchd.Listeners(agents.EdgeListeners)
	for _, ln := range listeners {
		if addr, ok := ln.Addr().(*net.TCPAddr); ok && addr.Port == c.Port {
			return listeners, nil
		}
	}
	if err != nil {
		log.Info("edge.listen.self", "port", c.Port, "reason", err.Error())
	}
	own, err := listen(agents.EdgeAddress(c.Port))
	if err != nil && len(listeners) > 0 {
		// A plist that somebody has edited; better one port than none.
		log.Error("edge.listen.failed", "port", c.Port, "error", err.Error())
		return listeners, nil
	}
	if err != nil {
		return nil, err
	}
	return append(listeners, own), nil
}

// serveAll serves until ctx ends, or one of the listeners fails.
func serveAll(ctx context.Context, edge *proxyedge.Edge, listeners []net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, len(listeners))
	for _, ln := range listeners {
		go func() { errs <- edge.Serve(ctx, ln) }()
	}
	var failed error
	for range listeners {
		failed = errors.Join(failed, <-errs)
		cancel()
	}
	return failed
}

// routes are the base URLs for clients that take no proxy.
func routes(table *provider.Table) []proxyedge.Route {
	var all []proxyedge.Route
	for _, u := range table.BaseURLs() {
		all = append(all, proxyedge.Route{Prefix: u.Prefix, Target: &url.URL{Scheme: "https", Host: u.Host}})
	}
	return all
}

// daemonAddress is where the daemon's record says it listens, as long as the
// process that wrote it lives.
func (a *app) daemonAddress() (proxyedge.Daemon, error) {
	rec, err := portalloc.ReadRecord(a.paths.Ports())
	if err != nil {
		return proxyedge.Daemon{}, fmt.Errorf("%w: %w", errNoDaemon, err)
	}
	if !rec.Live() {
		return proxyedge.Daemon{}, fmt.Errorf("%w that lives", errNoDaemon)
	}
	local := func(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
	return proxyedge.Daemon{
		Proxy:     local(rec.Ports["internal"]),
		HealthURL: "http://" + local(rec.Ports["api"]) + "/health",
	}, nil
}
