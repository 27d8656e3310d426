package launchd_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/launchdtest"
)

func TestMain(m *testing.M) { launchdtest.Main(m) }

const label = "com.example.agent"

var domain = launchd.GUI(501)

func target(t testing.TB) launchd.ServiceTarget {
	t.Helper()
	s, err := domain.Service(label)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// standIn plays a launchctl that says what a real one was seen to say.
type standIn struct {
	t testing.TB
	// answers by verb; a verb without one succeeds and says nothing.
	answers map[string]func() launchd.Output
	calls   []string
}

func (s *standIn) client() *launchd.Client {
	return &launchd.Client{Run: func(ctx context.Context, argv, _ []string) (launchd.Output, error) {
		if err := ctx.Err(); err != nil {
			return launchd.Output{}, err
		}
		s.calls = append(s.calls, strings.Join(argv[1:], " "))
		answer := s.answers[argv[1]]
		if answer == nil {
			return launchd.Output{}, nil
		}
		out := answer()
		if out.Code == hang {
			<-ctx.Done()
			return launchd.Output{}, ctx.Err()
		}
		return out, nil
	}}
}

// hang in place of an exit status is a launchctl that never ends.
const hang = -1000

func (s *standIn) count(verb string) (n int) {
	for _, c := range s.calls {
		if strings.HasPrefix(c, verb+" ") {
			n++
		}
	}
	return n
}

// verbs are the calls' verbs, a run of equal ones as one.
func (s *standIn) verbs() []string {
	var out []string
	for _, c := range s.calls {
		verb, _, _ := strings.Cut(c, " ")
		out = append(out, verb)
	}
	return slices.Compact(out)
}

// always gives one answer, inTurn each of them once and the last for good.
func always(o launchd.Output) func() launchd.Output { return inTurn(o) }

func inTurn(outs ...launchd.Output) func() launchd.Output {
	return func() launchd.Output {
		o := outs[0]
		if len(outs) > 1 {
			outs = outs[1:]
		}
		return o
	}
}

func times(n int, o launchd.Output) []launchd.Output { return slices.Repeat([]launchd.Output{o}, n) }

func exit(code int, stderr string) launchd.Output {
	return launchd.Output{Code: code, Stderr: []byte(stderr)}
}

func said(stdout string) launchd.Output { return launchd.Output{Stdout: []byte(stdout)} }

var (
	succeeds = exit(0, "")
	refused  = exit(5, "Bootstrap failed: 5: Input/output error\nTry re-running the command as root for richer errors.\n")
	unknown  = exit(113, "Bad request.\nCould not find service \"com.example.agent\" in domain for user gui: 501\n")
	nobody   = exit(112, "Bad request.\nCould not find domain for user gui: 501\n")
	enabled  = said("\n\tdisabled services = {\n\t\t\"com.example.agent\" => enabled\n\t}\n")
	disabled = said("\n\tdisabled services = {\n\t\t\"com.example.agent\" => disabled\n\t}\n")
)

// printed is a capture of print, of the job that writePlist writes.
func printed(t testing.TB, capture, plist string) launchd.Output {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "print", capture+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(data), "/usr/local/bin/agent", "/bin/sh")
	return said(strings.Replace(text, "/Users/tester/Library/LaunchAgents/com.example.agent.plist", plist, 1))
}

// writePlist writes the job of the captures, after edit.
func writePlist(t testing.TB, edit func(*launchd.Job)) (path string) {
	t.Helper()
	job := launchd.Job{Label: label, ProgramArguments: []string{"/bin/sh", "server/index.ts"}}
	if edit != nil {
		edit(&job)
	}
	data, err := job.Encode()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), label+".plist")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
