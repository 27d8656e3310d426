package launchdtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
	"github.com/haltonlabs/halton-meter/launchd/launchdtest"
)

// quick is a client of the emulator that runs launchctl without a process of
// its own, and counts what it is asked.
type quick struct {
	launchd.Client
	verbs []string
}

func newQuick(t *testing.T, e *launchdtest.Emulator) *quick {
	t.Helper()
	e.Run("setenv", "SUPERVISOR", "started")
	q := &quick{}
	l := emulator.Launchctl{Dir: e.Dir}
	q.Command = []string{"launchctl"}
	q.Run = func(ctx context.Context, argv, _ []string) (launchd.Output, error) {
		q.verbs = append(q.verbs, argv[1])
		var out, errs bytes.Buffer
		code := l.Run(ctx, argv[1:], &out, &errs)
		return launchd.Output{Stdout: out.Bytes(), Stderr: errs.Bytes(), Code: code}, nil
	}
	return q
}

func (q *quick) count(verb string) int {
	n := 0
	for _, v := range q.verbs {
		if v == verb {
			n++
		}
	}
	return n
}

// slow is a job that needs a while to end.
func slow(t *testing.T, drain time.Duration) (launchd.ServiceTarget, string) {
	t.Helper()
	dir := t.TempDir()
	job := launchd.Job{
		Label: "test.slow." + filepath.Base(filepath.Dir(dir)),
		ProgramArguments: []string{"/bin/sh", "-c", fmt.Sprintf(
			`trap "sleep %.2f; exit 0" TERM; : >%s/up.$$; while :; do sleep 0.01; done`, drain.Seconds(), dir)},
		KeepAlive: &launchd.KeepAlive{Always: true},
	}
	target, err := launchd.GUI(os.Getuid()).Service(job.Label)
	if err != nil {
		t.Fatal(err)
	}
	data, err := job.Encode()
	if err != nil {
		t.Fatal(err)
	}
	plist := filepath.Join(dir, "slow.plist")
	if err := os.WriteFile(plist, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return target, plist
}

// awaitUp waits until the job's process would take its time to end.
func awaitUp(t *testing.T, q *quick, target launchd.ServiceTarget, plist string) int {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		s, err := q.Print(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(fmt.Sprintf("%s/up.%d", filepath.Dir(plist), s.PID)); err == nil {
			return s.PID
		}
	}
	t.Fatal("the job does not come up")
	return 0
}

// TestBootoutThenLoad is the race that launchd is known for: bootout returns
// while the old process drains, and a bootstrap is refused until it has.
func TestBootoutThenLoad(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		drain time.Duration
		times int
	}{
		"a short drain":  {20 * time.Millisecond, 100},
		"a drain of 3 s": {3 * time.Second, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := launchdtest.Start(t, emulator.Knobs{})
			q := newQuick(t, e)
			target, plist := slow(t, c.drain)
			options := launchd.LoadOptions{BaseDelay: 10 * time.Millisecond}
			old := 0
			for i := range c.times + 1 {
				if i > 0 {
					// The verb itself: Client.Bootout would wait.
					out, err := q.Run(t.Context(), []string{"launchctl", "bootout", target.String()}, nil)
					if err != nil || out.Code != 0 {
						t.Fatalf("bootout %d: %+v, %v", i, out, err)
					}
				}
				if _, err := q.Load(t.Context(), target.Domain(), plist, options); err != nil {
					t.Fatalf("load %d: %v", i, err)
				}
				pid := awaitUp(t, q, target, plist)
				if pid == old {
					t.Fatalf("load %d: the old process %d", i, pid)
				}
				old = pid
			}
		})
	}
}

// A refusal that no retry cures ends the first attempt and says why.
func TestLoadDoesNotRetryWhatStaysWrong(t *testing.T) {
	t.Parallel()
	rewrite := func(t *testing.T, plist, from, to string) {
		data, err := os.ReadFile(plist)
		if err != nil || !bytes.Contains(data, []byte(from)) {
			t.Fatalf("no %q in the plist: %v", from, err)
		}
		if err := os.WriteFile(plist, bytes.Replace(data, []byte(from), []byte(to), 1), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, q *quick, plist string)
		is    error
		says  string
	}{
		"disabled": {func(_ *testing.T, q *quick, _ string) {
			// Load enables the label; a policy may disable it all the same.
			run := q.Run
			q.Run = func(ctx context.Context, argv, env []string) (launchd.Output, error) {
				if argv[1] == "enable" {
					argv = slices.Replace(slices.Clone(argv), 1, 2, "disable")
				}
				return run(ctx, argv, env)
			}
		}, launchd.ErrDisabled, "disabled"},
		"others can write it": {func(t *testing.T, _ *quick, plist string) {
			if err := os.Chmod(plist, 0o666); err != nil {
				t.Fatal(err)
			}
		}, launchd.ErrBadPlist, "writ"},
		"the program is missing": {func(t *testing.T, _ *quick, plist string) {
			rewrite(t, plist, "/bin/sh", "/no/such/program")
		}, launchd.ErrBadPlist, "/no/such/program"},
		"it is malformed": {func(t *testing.T, _ *quick, plist string) {
			rewrite(t, plist, "</dict>", "</array>")
		}, nil, "plist"},
		"it has no label": {func(t *testing.T, _ *quick, plist string) {
			rewrite(t, plist, "<key>Label</key>", "<key>Lable</key>")
		}, nil, "label"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQuick(t, launchdtest.Start(t, emulator.Knobs{}))
			target, plist := slow(t, 0)
			c.spoil(t, q, plist)
			_, err := q.Load(t.Context(), target.Domain(), plist, launchd.LoadOptions{})
			if err == nil || (c.is != nil && !errors.Is(err, c.is)) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("load: %v", err)
			}
			if n := q.count("bootstrap"); n > 1 {
				t.Errorf("%d bootstraps: %v", n, q.verbs)
			}
		})
	}
}
