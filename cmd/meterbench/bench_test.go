package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// program is the halton-meter that is measured, built once.
var program string

// TestMain is also the bench's helper processes, which start this binary.
func TestMain(m *testing.M) {
	if played, err := playRole(); played {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "meterbench-test")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "halton-meter")
	if out, err := exec.Command("go", "build", "-o", program, "../halton-meter").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// tiny is the smallest run of a subject, without peers.
func tiny(t *testing.T, subject string) string {
	t.Helper()
	// A folder of its own shows what is left behind.
	t.Setenv("TMPDIR", t.TempDir())
	var out strings.Builder
	err := benchMain(t.Context(), []string{
		"-program", program, "-peers", "none", "-rounds", "1", "-samples", "4", "-bulk", "100000",
		"-tunnels", "12", "-settle", "1ms", "-duration", "50ms", "-stream-rounds", "1",
		"-streams", "3", "-events", "300", subject,
	}, &out)
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	processes, err := exec.Command("ps", "-axww", "-o", "command=").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(processes)) {
		if strings.Contains(line, os.Getenv("TMPDIR")) {
			t.Errorf("a process is left: %s", line)
		}
	}
	if strings.Contains(out.String(), "failed in round") || strings.Contains(out.String(), " failed: ") {
		t.Errorf("a contender failed:\n%s", &out)
	}
	return out.String()
}

func TestSubjects(t *testing.T) {
	for subject, want := range map[string][]string{
		"setup":      {"| direct ", "| edge ", "| edge, metered host, no daemon ", "| edge, no daemon ", "| edge + daemon "},
		"throughput": {"| direct ", "| edge ", "CPU per GB"},
		"idle":       {"12 idle tunnels", "| edge ", "| edge, chained ", "| daemon of the chained "},
		"requests":   {"| direct ", "| edge + daemon ", "added p50"},
		"streams":    {"3 concurrent streams", "| direct ", "| edge + daemon ", "the daemon's RSS, 3 streams"},
		"profile":    {"under 3 streams", "parsing's share"},
	} {
		t.Run(subject, func(t *testing.T) {
			out := tiny(t, subject)
			for _, w := range want {
				if !strings.Contains(out, w) {
					t.Errorf("%q is missing from\n%s", w, out)
				}
			}
			if runtime.GOOS == "linux" && subject == "idle" && strings.Contains(out, "not measured: edge") {
				t.Errorf("memory was not read:\n%s", out)
			}
		})
	}
}

func TestEveryGroupIsDescribed(t *testing.T) {
	for _, s := range subjects {
		for _, name := range []string{s.name, s.group} {
			if !strings.Contains(usageText, "\n  "+name) {
				t.Errorf("the usage does not tell of %s", name)
			}
		}
	}
	for _, p := range peers {
		if !strings.Contains(usageText, p.pkg) {
			t.Errorf("the usage does not tell how to install %s", p.name)
		}
	}
}

func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want []string // nil: an error
	}{
		{[]string{"idle"}, []string{"idle"}},
		{[]string{"edge"}, []string{"setup", "throughput", "idle"}},
		{[]string{"capture", "profile"}, []string{"requests", "streams", "profile"}},
		{[]string{"all"}, []string{"setup", "throughput", "idle", "requests", "streams", "profile"}},
		{nil, nil},
		{[]string{"speed"}, nil},
		{[]string{""}, nil},
	} {
		got, err := choose(tt.args)
		if !slices.Equal(got, tt.want) && tt.want != nil || (err != nil) != (tt.want == nil) {
			t.Errorf("choose(%q) = %q, %v, want %q", tt.args, got, err, tt.want)
		}
	}
}

func TestCommandLine(t *testing.T) {
	for _, args := range [][]string{
		{"-peers", "nginx", "all"},
		{"-streams", "many", "all"},
		{"-streams", "0", "all"},
		{"-rounds", "0", "all"},
		{"-duration", "0s", "all"},
		{"-bulk", "-1", "all"},
	} {
		if _, _, err := new(bench).parse(args); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
	b := new(bench)
	chosen, program, err := b.parse([]string{"-peers", "squid,haproxy", "-streams", "7,9", "-program", "p", "streams"})
	if err != nil || !slices.Equal(chosen, []string{"streams"}) || program != "p" ||
		!slices.Equal(b.peers, []string{"squid", "haproxy"}) || !slices.Equal(b.streamCounts, []int{7, 9}) {
		t.Errorf("parsed %q, %q, %+v, %v", chosen, program, b, err)
	}
}
