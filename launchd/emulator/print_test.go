package emulator

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haltonlabs/halton-meter/launchd"
)

// TestPrintHasTheOrderOfTheRealOne compares with published output of macOS 26
// for a running agent, reduced to its keys at the top level.
func TestPrintHasTheOrderOfTheRealOne(t *testing.T) {
	const want = `active count
path
type
state

program
arguments

working directory

stdout path
stderr path
inherited environment

default environment

environment

domain
asid
minimum runtime
exit timeout
runs
pid
immediate reason
forks
execs
initialized
trampolined
started suspended
proxy started suspended
checked allocations
checked allocations reason
checked allocations flags
last exit code

resource coalition

jetsam coalition

spawn type
jetsam priority
jetsam memory limit (active)
jetsam memory limit (inactive)
jetsamproperties category
jetsam thread limit
cpumon

properties
`
	def := &launchd.Job{
		Label: "com.example.agent", ProgramArguments: []string{"/bin/agent", "serve"},
		WorkingDirectory: "/srv", StandardOutPath: "/log/out", StandardErrorPath: "/log/err",
		RunAtLoad: new(true), KeepAlive: &launchd.KeepAlive{Always: true},
	}
	j := &job{
		key: jobKey{domain{"gui", 501}, def.Label}, path: "/plists/agent.plist", def: def, rules: rulesOf(def, Knobs{}),
		life: life{State: running, PID: 3246, Runs: 1, Reason: "speculative"},
	}
	r := &registry{sup: &Supervisor{}, env: map[string]string{"SSH_AUTH_SOCK": "/sock"}, log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	text := r.printService(j)
	var keys strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "\t")
		key, _, field := strings.Cut(line, " = ")
		if line == "" || (field && !strings.HasPrefix(line, "\t") && !strings.HasPrefix(line, "gui/")) {
			keys.WriteString(key + "\n")
		}
	}
	if d := cmp.Diff(want, keys.String()); d != "" {
		t.Error(d)
	}
	s, err := launchd.ParseService([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if s.PID != 3246 || s.State != "running" || !s.HasArguments(def.ProgramArguments) || s.MinimumRuntime != 10*time.Second ||
		s.ExitTimeout == nil || *s.ExitTimeout != 5*time.Second || strings.Join(s.Properties, ",") != "keepalive,runatload,inferred program,managed LWCR,has LWCR" {
		t.Errorf("read back: %+v", s)
	}
}

func TestExitStatusInItsThreeForms(t *testing.T) {
	for _, c := range []struct {
		in     exitStatus
		line   string
		column string
		wait   int
	}{
		{exitStatus{}, "last exit code = (never exited)", "-", 0},
		{exitStatus{withCode, 0}, "last exit code = 0", "0", 0},
		{exitStatus{withCode, 75}, "last exit code = 75: EX_TEMPFAIL", "75", 19200},
		{exitStatus{withCode, 78}, "last exit code = 78: EX_CONFIG", "78", 78 << 8},
		{exitStatus{bySignal, 15}, "last terminating signal = Terminated: 15", "-15", 15},
		{exitStatus{bySignal, 9}, "last terminating signal = Killed: 9", "-9", 9},
		{exitStatus{Kind: lost}, "last exit code = (failed reap)", "(fr)", 0},
	} {
		if c.in.line() != c.line || c.in.column() != c.column || c.in.wait() != c.wait {
			t.Errorf("%+v: %q, %q, %d", c.in, c.in.line(), c.in.column(), c.in.wait())
		}
	}
}
