package launchd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/haltonlabs/halton-meter/launchd"
)

func capture(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "print", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func parse(t *testing.T, text string) *launchd.Service {
	t.Helper()
	s, err := launchd.ParseService([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The captures are of one job in its states.
func TestParseServiceReadsCaptures(t *testing.T) {
	job := launchd.Service{
		Target: "gui/501/com.example.agent", Type: "LaunchAgent", Path: "/Users/tester/Library/LaunchAgents/com.example.agent.plist",
		Program: "/usr/local/bin/agent", Arguments: []string{"/usr/local/bin/agent", "server/index.ts"},
		Environment: map[string]string{"OSLogRateLimit": "64", "PORT": "11010", "PATH": "/usr/bin:/bin", "XPC_SERVICE_NAME": "com.example.agent"},
		ExitTimeout: new(5 * time.Second), MinimumRuntime: 10 * time.Second,
	}
	alive := []string{"keepalive", "runatload", "inferred program", "managed LWCR", "has LWCR"}
	timed := []string{"runatload", "inferred program", "managed LWCR", "has LWCR"}
	tests := map[string]struct {
		edit     func(*launchd.Service)
		draining bool
	}{
		"running": {edit: func(s *launchd.Service) {
			s.State, s.PID, s.Runs, s.ImmediateReason, s.Properties = "running", 3246, 1, "speculative", alive
		}},
		"draining": {draining: true, edit: func(s *launchd.Service) {
			s.State, s.PID, s.Runs, s.ImmediateReason, s.Properties = "SIGTERMed", 3246, 1, "speculative", alive
		}},
		"not-running": {edit: func(s *launchd.Service) {
			s.State, s.Runs, s.LastExitCode, s.RunInterval, s.Properties = "not running", 2, new(0), time.Minute, timed
		}},
		"pended": {edit: func(s *launchd.Service) {
			s.State, s.PendedSpawn, s.RunInterval, s.Properties = "not running", "speculative", time.Minute, timed
		}},
		"crash-loop": {edit: func(s *launchd.Service) {
			s.State, s.Runs, s.LastExitCode, s.JobState, s.MinimumRuntime, s.Properties = "spawn scheduled", 22138, new(78), "spawn failed", 30*time.Second, timed
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := job
			tt.edit(&want)
			got := parse(t, capture(t, name))
			if got.Fields["spawn type"] == "" || got.Fields["asid"] != "100057" || got.Blocks["resource coalition"] == "" {
				t.Errorf("the rest is lost: %v", got.Fields)
			}
			if got.Draining() != tt.draining {
				t.Errorf("Draining = %v", got.Draining())
			}
			got.Fields, got.Blocks = nil, nil
			if diff := cmp.Diff(&want, got, cmpopts.IgnoreUnexported(launchd.Service{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseServiceKnowsEveryState(t *testing.T) {
	text := capture(t, "running")
	for state, draining := range map[string]bool{
		"not running": false, "spawn scheduled": false, "spawning": false, "spawned": false, "xpcproxy": false, "running": false,
		"waiting": false, "exited": false, "SIGTERMed": true, "SIGKILLed": true, "languishing": true,
	} {
		s := parse(t, strings.Replace(text, "\tstate = running", "\tstate = "+state, 1))
		if s.State != state || s.Draining() != draining {
			t.Errorf("State = %q, Draining %v, want %q, %v", s.State, s.Draining(), state, draining)
		}
	}
}

func TestParseServiceReadsTheEndOfTheLastRun(t *testing.T) {
	text := capture(t, "not-running")
	tests := map[string]launchd.Service{
		"last exit code = (never exited)":              {},
		"last exit code = (abandoned)":                 {},
		"last exit code = 0":                           {LastExitCode: new(0)},
		"last exit code = 78: EX_CONFIG":               {LastExitCode: new(78)},
		"last terminating signal = Killed: 9":          {LastSignal: "Killed: 9"},
		"last exit reason = OS_REASON_CODESIGNING":     {LastExitReason: "OS_REASON_CODESIGNING"},
		"last exit code = 99999999999999999999":        {},
		"last terminating signal = Terminated: 15":     {LastSignal: "Terminated: 15"},
		"last exit code = 1\n\tsuccessive crashes = 3": {LastExitCode: new(1)},
	}
	for line, want := range tests {
		s := parse(t, strings.Replace(text, "last exit code = 0", line, 1))
		got := launchd.Service{LastExitCode: s.LastExitCode, LastSignal: s.LastSignal, LastExitReason: s.LastExitReason}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(launchd.Service{})); diff != "" {
			t.Errorf("%s: %s", line, diff)
		}
	}
}

// launchctl prints arguments raw, whatever they hold.
func TestParseServiceOfHostileArguments(t *testing.T) {
	scripts := []string{
		"a\nb", "if true\n}\nfi", "}\n", "\t}", "\tpid = 1\n\tstate = SIGTERMed", "x = {", "\targuments = {\n\t\tno\n\t}", "", "\n\n",
		"\tlast exit code = 7", "=> = {", "\tproperties = keepalive",
	}
	for _, script := range scripts {
		argv := []string{"/bin/sh", "-c", script, "last"}
		text := strings.Replace(capture(t, "running"), "\t\t/usr/local/bin/agent\n\t\tserver/index.ts\n", "\t\t"+strings.Join(argv, "\n\t\t")+"\n", 1)
		s := parse(t, text)
		if !s.HasArguments(argv) || s.HasArguments(argv[:3]) {
			t.Errorf("%q: HasArguments is wrong; block %q", script, s.Blocks["arguments"])
		}
		if s.PID != 3246 || s.State != "running" || s.LastExitCode != nil || s.Environment["PORT"] != "11010" || len(s.Properties) != 5 {
			t.Errorf("%q: state %q, pid %d, last exit %v, properties %q", script, s.State, s.PID, s.LastExitCode, s.Properties)
		}
	}
}

// blockInScript has lines that look like the end of launchctl's block.
const blockInScript = "f() {\n\t{\n\t:\n\t}\n\n\t:\n}\nf; exec sleep 100"

func TestHasArgumentsOfAScriptThatEndsTheBlock(t *testing.T) {
	for _, script := range []string{blockInScript, "\n\t}\n\n", "x\n\t}\n\n\t\ty\n\t}\n\n", "\n\t}\n}"} {
		argv := []string{"/bin/sh", "-c", script, "last"}
		s := parse(t, strings.Replace(capture(t, "running"), "\t\t/usr/local/bin/agent\n\t\tserver/index.ts\n", "\t\t"+strings.Join(argv, "\n\t\t")+"\n", 1))
		if !s.HasArguments(argv) {
			t.Errorf("%q: not recognised in %q", script, s.Blocks["arguments"])
		}
		for _, other := range [][]string{nil, argv[:2], {"/bin/sh", "-c", script, "las"}, {"/bin/sh", "-c", script + "x", "last"}, append(argv[:4:4], "more")} {
			if s.HasArguments(other) {
				t.Errorf("%q: taken for %q", script, other)
			}
		}
		if s.PID != 3246 || s.State != "running" {
			t.Errorf("%q: state %q, pid %d", script, s.State, s.PID)
		}
	}
}

func TestParseServiceRefusesOtherText(t *testing.T) {
	for _, text := range []string{"", "\n", "gui/501", "\tx = {", " = {", "Could not find service", strings.Repeat("x", 5<<20)} {
		if s, err := launchd.ParseService([]byte(text)); err == nil {
			t.Errorf("ParseService(%.20q) = %+v", text, s)
		}
	}
}

func FuzzParseService(f *testing.F) {
	for _, name := range []string{"running", "draining", "not-running", "pended", "crash-loop"} {
		f.Add([]byte(capture(f, name)))
	}
	f.Add([]byte("a = {\n\targuments = {\n\t\tx\n}\n\t}\n\t}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := launchd.ParseService(data)
		if err != nil {
			return
		}
		if s.Target == "" || s.PID < 0 || s.Runs < 0 || s.Fields == nil || s.Blocks == nil {
			t.Errorf("service = %+v", s)
		}
		if s.LastExitCode != nil && *s.LastExitCode < 0 {
			t.Errorf("last exit code %d", *s.LastExitCode)
		}
		size := 0
		for _, b := range s.Blocks {
			size += len(b)
		}
		if size > len(data)+len(s.Blocks) {
			t.Errorf("%d bytes of blocks from %d", size, len(data))
		}
	})
}

// Whatever the arguments are, those of a printed service are recognised.
func FuzzHasArguments(f *testing.F) {
	f.Add("a", "b")
	f.Add("}\n\t}", "\n\t}\n\t\tx")
	f.Fuzz(func(t *testing.T, a, b string) {
		argv := []string{"/bin/sh", a, b}
		text := fmt.Sprintf("gui/501/x = {\n\tstate = running\n\n\targuments = {\n\t\t%s\n\t}\n\n\tpid = 7\n}\n", strings.Join(argv, "\n\t\t"))
		s := parse(t, text)
		if !s.HasArguments(argv) || s.State != "running" {
			t.Errorf("argv %q: state %q, block %q", argv, s.State, s.Blocks["arguments"])
		}
		// Where an argument itself holds the end of the block, the fields
		// after it are a guess.
		if !strings.Contains(a+"\n"+b, "\t}") && s.PID != 7 {
			t.Errorf("argv %q: block %q, pid %d", argv, s.Blocks["arguments"], s.PID)
		}
	})
}
