// Package agents is this product's own use of launchd: its four jobs, where
// their files lie, and the steps that install and remove them.
package agents

import (
	"strconv"

	"github.com/haltonlabs/halton-meter/launchd"
)

// The labels of the four jobs.
const (
	Daemon   = "com.haltonlabs.meter"
	Edge     = Daemon + ".edge"
	Watchdog = Daemon + ".watchdog"
	UserEnv  = Daemon + ".userenv"
)

// Labels is all of them, in the order in which they are removed.
var Labels = []string{Daemon, Watchdog, Edge, UserEnv}

// EdgeListeners is the key of the edge's socket in its plist.
const EdgeListeners = "Listeners"

const edgeHost = "127.0.0.1"

// ProxyVariables are the environment variables that tell programs to use a
// proxy. Our own processes must never follow them: they may name our edge.
var ProxyVariables = []string{
	"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy",
}

// openFiles is the limit of open files of each job: an edge with thousands of
// tunnels needs two for each, and macOS's own default is 256.
const openFiles = 16384

// Jobs are the plists of the four jobs, with the edge on edgePort.
func Jobs(p Paths, edgePort int) map[string]*launchd.Job {
	daemon := job(p, Daemon, "daemon")
	// No KeepAlive and no RunAtLoad: any KeepAlive value makes launchd start
	// the job at load (launchd.plist(5)), and a daemon that crashed stays
	// down until somebody looks, since traffic flows without it.
	daemon.ExitTimeOut = new(60)

	watchdog := job(p, Watchdog, "watchdog")
	watchdog.KeepAlive = &launchd.KeepAlive{Always: true}

	edge := job(p, Edge, "edge", "--port", strconv.Itoa(edgePort))
	edge.RunAtLoad = new(true)
	edge.KeepAlive = &launchd.KeepAlive{Always: true}
	edge.ExitTimeOut = new(10)
	// launchd holds the port, so that connections wait in the kernel's queue
	// while the edge is down. If somebody else has it at load, the job is
	// loaded all the same, and the edge binds by itself as soon as it can.
	edge.Sockets = map[string]launchd.OneOrMany[launchd.Socket]{EdgeListeners: launchd.One(launchd.Socket{
		SockNodeName:    edgeHost,
		SockServiceName: &launchd.IntOrString{Str: new(strconv.Itoa(edgePort))},
		SockFamily:      "IPv4",
	})}
	// launchd does not spawn a job whose log it cannot open (EX_CONFIG). The
	// edge must run even then, so it opens its log itself.
	edge.StandardOutPath, edge.StandardErrorPath = "", ""

	userenv := job(p, UserEnv, "userenv")
	userenv.RunAtLoad = new(true)

	return map[string]*launchd.Job{Daemon: daemon, Watchdog: watchdog, Edge: edge, UserEnv: userenv}
}

func job(p Paths, label string, args ...string) *launchd.Job {
	env := map[string]string{
		// A bare agent's environment is not documented, so it is stated.
		"HOME": p.Home,
		"PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
		// Not the default, so the jobs cannot find it by themselves.
		"HALTON_METER_HOME": p.State,
	}
	for _, v := range ProxyVariables {
		// An empty value overrides what "launchctl setenv" left behind.
		env[v] = ""
	}
	limits := &launchd.ResourceLimits{NumberOfFiles: new(openFiles)}
	return &launchd.Job{
		Label:                label,
		ProgramArguments:     append([]string{p.Program()}, args...),
		EnvironmentVariables: env,
		ThrottleInterval:     new(1),
		StandardOutPath:      p.Log(label, "out"),
		StandardErrorPath:    p.Log(label, "err"),
		SoftResourceLimits:   limits,
		HardResourceLimits:   limits,
	}
}
