package agents_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/launchd"
)

func testPaths(t *testing.T) agents.Paths {
	t.Helper()
	home := t.TempDir()
	p, err := agents.FindPaths(func(name string) string { return map[string]string{"HOME": home}[name] })
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(p.State, 0o700); err != nil {
		t.Fatal(err)
	}
	return p
}

// What the plists say is a promise to launchd and to the other jobs.
func TestJobs(t *testing.T) {
	p := testPaths(t)
	jobs := agents.Jobs(p, 8181)
	if len(jobs) != 4 {
		t.Fatalf("got %d jobs, want 4", len(jobs))
	}
	for label, job := range jobs {
		data, err := job.Encode()
		if err != nil {
			t.Fatal(err)
		}
		// What is on disk counts.
		if job, err = launchd.ParseJob(data); err != nil {
			t.Fatal(err)
		}
		if job.Label != label || job.ProgramArguments[0] != p.Program() {
			t.Errorf("%s: label %q runs %q", label, job.Label, job.ProgramArguments)
		}
		if *job.ThrottleInterval != 1 || *job.SoftResourceLimits.NumberOfFiles < 16384 {
			t.Errorf("%s: throttle %d, files %d", label, *job.ThrottleInterval, *job.SoftResourceLimits.NumberOfFiles)
		}
		env := job.EnvironmentVariables
		if env["HOME"] != p.Home || env["PATH"] == "" {
			t.Errorf("%s: HOME %q, PATH %q", label, env["HOME"], env["PATH"])
		}
		for _, name := range agents.ProxyVariables {
			if v, ok := env[name]; !ok || v != "" {
				t.Errorf("%s: %s is not cleared", label, name)
			}
		}
	}

	daemon := jobs[agents.Daemon]
	if daemon.KeepAlive != nil || daemon.RunAtLoad != nil {
		t.Error("the daemon has KeepAlive or RunAtLoad: launchd would start it by itself")
	}
	if *daemon.ExitTimeOut != 60 {
		t.Errorf("the daemon may drain for %d s", *daemon.ExitTimeOut)
	}
	edge := jobs[agents.Edge]
	if !edge.KeepAlive.Always || !*edge.RunAtLoad {
		t.Error("the edge is not always on")
	}
	socket := edge.Sockets[agents.EdgeListeners].Values
	if len(socket) != 1 || socket[0].SockNodeName != "127.0.0.1" || *socket[0].SockServiceName.Str != "8181" {
		t.Errorf("launchd holds %+v for the edge", edge.Sockets)
	}
	if edge.StandardOutPath != "" || edge.StandardErrorPath != "" {
		t.Error("a log path could keep the edge from being spawned")
	}
	if w := jobs[agents.Watchdog]; !w.KeepAlive.Always {
		t.Error("the watchdog is not always on")
	}
	if u := jobs[agents.UserEnv]; !*u.RunAtLoad || u.KeepAlive != nil {
		t.Error("userenv is not one-shot at load")
	}
}

func TestEdgePortIsReadFromThePlist(t *testing.T) {
	p := testPaths(t)
	if got := agents.EdgePort(p); got != 0 {
		t.Errorf("without a plist: %d", got)
	}
	path := p.Plist(agents.Edge)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	data, err := agents.Jobs(p, 8183)[agents.Edge].Encode()
	if err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]int{
		string(data): 8183,
		strings.Replace(string(data), "8183", "99999", 1): 0,
		"garbage": 0,
		"":        0,
	} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := agents.EdgePort(p); got != want {
			t.Errorf("got %d, want %d, for %q", got, want, content)
		}
	}
}

func TestStopSentinel(t *testing.T) {
	p := testPaths(t)
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	if _, stopped := agents.Stopped(p, at); stopped {
		t.Error("stopped without a sentinel")
	}
	if err := agents.WriteStop(p, at); err != nil {
		t.Fatal(err)
	}
	for age, want := range map[time.Duration]bool{
		0: true, 29 * time.Second: true, 30 * time.Second: false, time.Hour: false,
		-time.Second: false, // from the future
	} {
		if _, stopped := agents.Stopped(p, at.Add(age)); stopped != want {
			t.Errorf("after %s: stopped %v, want %v", age, stopped, want)
		}
	}
	if left, _ := agents.Stopped(p, at.Add(10*time.Second)); left != 20*time.Second {
		t.Errorf("after 10 s, %s are left", left)
	}
	for _, garbage := range []string{"", "\n", "soon\n"} {
		if err := os.WriteFile(p.GracefulShutdown(), []byte(garbage), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, stopped := agents.Stopped(p, at); stopped {
			t.Errorf("stopped by %q", garbage)
		}
	}
	for range 2 {
		if err := agents.ClearStop(p); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFindPaths(t *testing.T) {
	tests := map[string]struct {
		env   map[string]string
		state string
	}{
		"default":  {map[string]string{"HOME": "/h"}, "/h/.halton-meter"},
		"named":    {map[string]string{"HOME": "/h", "HALTON_METER_HOME": "/s/x/"}, "/s/x"},
		"no home":  {map[string]string{}, ""},
		"relative": {map[string]string{"HOME": "/h", "HALTON_METER_HOME": "x"}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := agents.FindPaths(func(n string) string { return tt.env[n] })
			if (err == nil) != (tt.state != "") || (err == nil && p.State != tt.state) {
				t.Errorf("got %q, %v; want %q", p.State, err, tt.state)
			}
		})
	}
}
