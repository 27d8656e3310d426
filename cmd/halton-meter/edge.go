package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/edgectl"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/systemd"
	"github.com/haltonlabs/halton-meter/internal/process"
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

	// An edge asks this of the program that is to take over from it.
	HandoverVersion bool `hidden:""`
}

// Run serves whatever the state directory is like: missing, unreadable, with
// a broken configuration. All that can be lost is metering.
func (c edgeCmd) Run(ctx context.Context, a *app) error {
	if c.HandoverVersion {
		fmt.Println(proxyedge.HandoverVersion)
		return nil
	}
	// Thousands of tunnels are mostly stacks until they fall silent, and stacks
	// count towards how much garbage may lie about. The edge makes little of it:
	// to collect more often costs next to nothing.
	debug.SetGCPercent(20)
	own, ownErr := edgectl.OwnProgramID()
	cleanEnvironment(a.paths)
	log := edgeLogger(a.paths)
	if ownErr != nil {
		log.Warn("edge.program.unknown", "error", ownErr.Error())
	}
	inherited, err := proxyedge.Inherited()
	if err != nil {
		log.Error("edge.handover.unreadable", "error", err.Error())
	}
	listeners, err := c.listen(log, inherited)
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
		Release: debug.FreeOSMemory,
		Logger:  log,
	}
	edge.AllowLocal = conf.Edge.AllowLocal
	if pool, err := roots(a.paths, conf); err != nil {
		log.Error("edge.config.ignored", "error", err.Error())
	} else {
		edge.RootCAs = pool
		if edge.Parent, err = parent(conf, pool); err != nil {
			log.Error("edge.config.ignored", "error", err.Error())
		}
	}
	edge.Resume(inherited)
	control := &edgectl.Control{
		Edge: edge, Socket: a.paths.EdgeSocket(), Counters: a.paths.EdgeCounters(),
		Self: edgectl.Self{
			PID: os.Getpid(), Port: c.Port, Version: version.Version, StartedAt: a.now(), Program: own,
			Setup: agents.EdgeSetup(a.paths, conf),
		},
		Logger:  log,
		Resumed: inherited.Complete(),
		Upgrade: func(ctx context.Context, wait time.Duration) error {
			return upgradeEdge(ctx, edge, a.paths.Program(), wait)
		},
	}
	if inherited != nil {
		control.Self.UpgradedAt = control.Self.StartedAt
		if at, err := process.StartTime(os.Getpid()); err == nil {
			control.Self.StartedAt = at
		}
	}
	defer control.Start(ctx)()
	log.Info("edge.startup.ready", "version", version.Version, "pid", os.Getpid(), "port", c.Port, "upgraded", inherited != nil)
	err = serveAll(ctx, edge, listeners)
	log.Info("edge.exit")
	return err
}

// listen takes the socket that launchd or systemd holds for the edge, so that
// nobody is refused while the edge is down. Where there is none it binds by
// itself: somebody had the port when the job was loaded, or this is no job.
//
// An edge that was upgraded in place has its listeners from the program before
// it; launchd hands its socket to a process only once.
func (c edgeCmd) listen(log *slog.Logger, inherited *proxyedge.Inheritance) ([]net.Listener, error) {
	if inherited != nil && len(inherited.Listeners) > 0 {
		return inherited.Listeners, nil
	}
	listeners, err := launchd.Listeners(agents.EdgeListeners)
	if held, heldErr := systemd.Listeners(); len(held) > 0 || heldErr != nil {
		listeners, err = held, heldErr
	}
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

// probeTime is how long the new program may take to name its version.
const probeTime = 10 * time.Second

// upgradeEdge makes this process the installed program, which may be broken or
// too different: that is found out before anything is given away. The path is
// executed, and not what this process was started from, which a rename has
// taken away.
func upgradeEdge(ctx context.Context, edge *proxyedge.Edge, program string, wait time.Duration) error {
	probing, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	out, err := exec.CommandContext(probing, program, "edge", "--handover-version").Output()
	if err != nil {
		return fmt.Errorf("try %s: %w", program, err)
	}
	if got, want := strings.TrimSpace(string(out)), strconv.Itoa(proxyedge.HandoverVersion); got != want {
		return fmt.Errorf("try %s: it takes over by version %.20q, this edge hands over by %s", program, got, want)
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return edge.Upgrade(waiting, program, append([]string{program}, os.Args[1:]...), nil)
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
