package launchd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func printed(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "print", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func parsed(t *testing.T, text string) *Service {
	t.Helper()
	s, err := ParseService([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParseRunningService(t *testing.T) {
	got := parsed(t, printed(t, "running"))
	got.Fields, got.Blocks = nil, nil
	want := &Service{
		Target:    "gui/501/com.example.agent",
		State:     "running",
		Type:      "LaunchAgent",
		Path:      "/Users/tester/Library/LaunchAgents/com.example.agent.plist",
		PID:       3246,
		Program:   "/usr/local/bin/agent",
		Arguments: []string{"/usr/local/bin/agent", "server/index.ts"},
		Environment: map[string]string{
			"OSLogRateLimit": "64", "PORT": "11010", "PATH": "/usr/bin:/bin", "XPC_SERVICE_NAME": "com.example.agent",
		},
		Runs:            1,
		ExitTimeout:     new(5 * time.Second),
		MinimumRuntime:  10 * time.Second,
		ImmediateReason: "speculative",
		Properties:      []string{"keepalive", "runatload", "inferred program", "managed LWCR", "has LWCR"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseOtherStates(t *testing.T) {
	s := parsed(t, printed(t, "not-running"))
	if s.State != "not running" || s.PID != 0 || *s.LastExitCode != 0 || s.RunInterval != time.Minute || s.Draining() {
		t.Errorf("not running: %+v", s)
	}
	if s.Fields["jetsam thread limit"] != "32" || !strings.Contains(s.Blocks["jetsam coalition"], "\t\tID = 1623\n") {
		t.Errorf("the rest is not in Fields and Blocks: %v, %v", s.Fields, s.Blocks)
	}
	s = parsed(t, printed(t, "crash-loop"))
	if s.State != "spawn scheduled" || *s.LastExitCode != 78 || s.JobState != "spawn failed" || s.Runs != 22138 || s.MinimumRuntime != 30*time.Second {
		t.Errorf("crash loop: %+v", s)
	}
	s = parsed(t, printed(t, "draining"))
	if !s.Draining() || s.PID != 3246 {
		t.Errorf("draining: %+v", s)
	}
	s = parsed(t, printed(t, "pended"))
	if s.PendedSpawn != "speculative" || s.LastExitCode != nil || s.Runs != 0 {
		t.Errorf("pended: %+v", s)
	}
	s = parsed(t, strings.Replace(printed(t, "not-running"), "last exit code = 0", "last terminating signal = Killed: 9", 1))
	if s.LastSignal != "Killed: 9" || s.LastExitCode != nil {
		t.Errorf("signal: %+v", s)
	}
}

func TestArgumentsOfSeveralLines(t *testing.T) {
	argv := []string{"/bin/sh", "-c", "f() {\n}\n\tpid = 1\n\t}\n\tstate = fake\n\tpath = /fake\n", "", "last"}
	var block strings.Builder
	for _, arg := range argv {
		block.WriteString("\t\t" + arg + "\n")
	}
	text := strings.Replace(printed(t, "running"), "\t\t/usr/local/bin/agent\n\t\tserver/index.ts\n", block.String(), 1)
	s := parsed(t, text)
	if s.State != "running" || s.PID != 3246 || !strings.HasPrefix(s.Path, "/Users") {
		t.Errorf("an argument passed for a field: state %q, pid %d, path %q", s.State, s.PID, s.Path)
	}
	if diff := cmp.Diff(argv, s.Arguments); diff != "" {
		t.Error(diff)
	}
	if !s.HasArguments(argv) || s.HasArguments(argv[:4]) {
		t.Error("HasArguments is wrong")
	}
}

func TestParseServiceRefusesOtherText(t *testing.T) {
	for _, text := range []string{"", "\n", "Could not find service", " = {", "\tstate = {", strings.Repeat("x", maxOutputBytes+1)} {
		if s, err := ParseService([]byte(text)); err == nil {
			t.Errorf("%.20q gives %+v", text, s)
		}
	}
}

func TestParseDisabled(t *testing.T) {
	current := "\n\tdisabled services = {\n\t\t\"com.apple.ftpd\" => disabled\n\t\t\"com.openssh.sshd\" => enabled\n\t\t\"odd\" => label\" => disabled\n\t}\n\n\tlogin item associations = {\n\t\t\"com.example.helper\" => disabled\n\t}\n"
	older := "disabled services = {\n\t\"com.apple.ftpd\" => true\n\t\"com.openssh.sshd\" => false\n}\n"
	tests := map[string]struct {
		text string
		want map[string]bool
	}{
		"macOS 26": {current, map[string]bool{"com.apple.ftpd": true, "com.openssh.sshd": false, `odd" => label`: true}},
		"older":    {older, map[string]bool{"com.apple.ftpd": true, "com.openssh.sshd": false}},
		"none":     {"disabled services = {\n}\n", map[string]bool{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseDisabled([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got, err := ParseDisabled([]byte("Bad request.\n")); err == nil {
		t.Errorf("other text gives %v", got)
	}
}

func TestParseList(t *testing.T) {
	got, err := ParseList([]byte("PID\tStatus\tLabel\n884\t0\tcom.example.a\n-\t-9\tcom.example.b\n-\t78\tcom.example.c\n-\t???\tcom.example.d\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []ListEntry{
		{"com.example.a", 884, new(0)},
		{"com.example.b", 0, new(-9)},
		{"com.example.c", 0, new(78)},
		{"com.example.d", 0, nil},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err := ParseList([]byte("hello\n")); err == nil {
		t.Errorf("other text gives %v", got)
	}
}

func FuzzParseService(f *testing.F) {
	for _, name := range []string{"running", "not-running", "crash-loop"} {
		f.Add([]byte(printed(f, name)))
	}
	f.Add([]byte("a = {\n\targuments = {\n\t\tx\n}\n\t}\nx\n\targuments = {\n\tpid = 7\n}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseService(data)
		if err == nil && (s.Target == "" || s.PID < 0 || s.Runs < 0 || s.MinimumRuntime < 0) {
			t.Errorf("%+v", s)
		}
	})
}

func FuzzParseDisabled(f *testing.F) {
	f.Add([]byte("\n\tdisabled services = {\n\t\t\"a\" => disabled\n\t}\n"))
	f.Add([]byte("disabled services = {\n\t\"\" => \" => true\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := ParseDisabled(data); err == nil && got == nil {
			t.Error("neither a result nor an error")
		}
	})
}

func FuzzParseList(f *testing.F) {
	f.Add([]byte("PID\tStatus\tLabel\n1\t0\ta\n-\t-9\tb\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := ParseList(data)
		if err == nil && got == nil {
			t.Error("neither a result nor an error")
		}
		for _, e := range got {
			if e.Label == "" || e.PID < 0 {
				t.Errorf("%+v", e)
			}
		}
	})
}
