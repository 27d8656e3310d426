package emulator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/internal/process"
	"github.com/haltonlabs/halton-meter/launchd"
)

// clock is a clock that stands still until it is advanced.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[chan time.Time]time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), timers: map[chan time.Time]time.Time{}}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan time.Time, 1)
	if d <= 0 {
		ch <- c.now
		return ch
	}
	c.timers[ch] = c.now.Add(d)
	return ch
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for ch, at := range c.timers {
		if !at.After(c.now) {
			ch <- c.now
			delete(c.timers, ch)
		}
	}
}

// serve runs s until the test ends, and waits for its socket.
func serve(t *testing.T, s *Supervisor) (launchctl func(args ...string) (int, string), ended <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	end := make(chan error, 1)
	gone := make(chan struct{})
	go func() { end <- s.Run(ctx); close(gone) }()
	t.Cleanup(func() { cancel(); <-gone })
	l := Launchctl{Dir: s.Dir}
	launchctl = func(args ...string) (int, string) {
		var out, errs bytes.Buffer
		code := l.Run(t.Context(), args, &out, &errs)
		return code, out.String() + errs.String()
	}
	for {
		if _, err := ask(t.Context(), s.Dir, request{Verb: "managername"}); err == nil {
			return launchctl, end
		}
		select {
		case err := <-end:
			t.Fatalf("supervisor ended: %v", err)
		default:
		}
	}
}

func writeJob(t *testing.T, job launchd.Job) string {
	t.Helper()
	data, err := job.Encode()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "job.plist")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheClockDrivesTheThrottle(t *testing.T) {
	t.Parallel()
	c := newClock()
	launchctl, _ := serve(t, &Supervisor{Dir: t.TempDir(), IdleExit: -1, Now: c.Now, After: c.After})
	path := writeJob(t, launchd.Job{
		Label: "test.clock", ProgramArguments: []string{"/bin/sh", "-c", "exit 3"},
		KeepAlive: &launchd.KeepAlive{Always: true},
	})
	dom := domain{"gui", os.Getuid()}.String()
	if code, text := launchctl("bootstrap", dom, path); code != 0 {
		t.Fatal(text)
	}
	service := func() *launchd.Service {
		_, text := launchctl("print", dom+"/test.clock")
		s, err := launchd.ParseService([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for runs := 1; runs <= 5; runs++ {
		s := service()
		for s.State != string(scheduled) {
			s = service()
		}
		if s.Runs != runs || s.LastExitCode == nil || *s.LastExitCode != 3 {
			t.Fatalf("runs %d, want %d; last exit %v", s.Runs, runs, s.LastExitCode)
		}
		c.advance(9 * time.Second)
		if s := service(); s.State != string(scheduled) || s.Runs != runs {
			t.Fatalf("9 s after spawn %d: state %q, runs %d", runs, s.State, s.Runs)
		}
		c.advance(time.Second)
		for s := service(); s.Runs == runs; {
			s = service()
		}
	}
}

func TestAnIdleSupervisorEnds(t *testing.T) {
	t.Parallel()
	c := newClock()
	dir := t.TempDir()
	launchctl, ended := serve(t, &Supervisor{Dir: dir, IdleExit: 3 * time.Second, Now: c.Now, After: c.After})
	if code, text := launchctl("setenv", "A", "b"); code != 0 {
		t.Fatal(text)
	}
	c.advance(time.Hour)
	if _, text := launchctl("getenv", "A"); text != "b\n" {
		t.Fatalf("an hour later: %q", text)
	}
	if code, text := launchctl("unsetenv", "A"); code != 0 {
		t.Fatal(text)
	}
	// The idle time counts from when the last client has gone, which the
	// clock cannot see; so it goes on until the supervisor has.
	for {
		c.advance(time.Second)
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{sockFile, stateFile} {
				if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is left: %v", name, err)
				}
			}
			return
		default:
		}
	}
}

func TestOneSupervisorPerDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	serve(t, &Supervisor{Dir: dir})
	if err := (&Supervisor{Dir: dir}).Run(t.Context()); !errors.Is(err, ErrRunning) {
		t.Fatalf("the second supervisor: %v", err)
	}
}

// A Dir that was forgotten is not the directory that the program happens to be
// in.
func TestNothingIsDoneWithoutADir(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := new(Supervisor).Run(ctx); err == nil {
		t.Error("a supervisor without a directory has run")
	}
	var out, errs bytes.Buffer
	for _, verb := range []string{"list", "setenv A b"} {
		if code := new(Launchctl).Run(t.Context(), strings.Fields(verb), &out, &errs); code == 0 || out.Len() > 0 {
			t.Errorf("%s = %d, %q", verb, code, out.String())
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("files = %v, %v", files, err)
	}
}

func TestHolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if pid := Holder(dir); pid != 0 {
		t.Errorf("before: %d", pid)
	}
	serve(t, &Supervisor{Dir: dir})
	if pid := Holder(dir); pid != os.Getpid() {
		t.Errorf("while it runs: %d", pid)
	}
	if err := os.WriteFile(filepath.Join(dir, lockFile), fmt.Appendf(nil, "%d x\n", os.Getpid()), 0o600); err != nil {
		t.Fatal(err)
	}
	if pid := Holder(dir); pid != 0 {
		t.Errorf("a process of another identity: %d", pid)
	}
}

func TestTheDisabledSetPersists(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target := domain{"gui", os.Getuid()}.String() + "/test.disabled"
	for i := range 2 {
		launchctl, ended := serve(t, &Supervisor{Dir: dir})
		if i == 0 {
			if code, text := launchctl("disable", target); code != 0 {
				t.Fatal(text)
			}
		}
		_, text := launchctl("print-disabled", filepath.Dir(target))
		if set, err := launchd.ParseDisabled([]byte(text)); err != nil || !set["test.disabled"] {
			t.Fatalf("run %d: %v, %v", i, set, err)
		}
		if err := Stop(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
}

// A supervisor that dies right after fork has recorded nothing of the child.
func TestAProxyWithoutAnOrderEnds(t *testing.T) {
	t.Parallel()
	c, err := fork("test.unreleased")
	if err != nil {
		t.Fatal(err)
	}
	if !process.Is(c.pid, c.id) {
		t.Fatal("the proxy does not wait")
	}
	c.order.Close()
	if err := c.awaitExec(); err == nil {
		t.Error("a proxy without an order became a job")
	}
	if got := c.reap(false); got != (exitStatus{withCode, exConfig}) {
		t.Errorf("it ended with %+v", got)
	}
}

func TestAStateOfAnotherBootIsForgotten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := savedState{Env: map[string]string{"A": "b"}}
	if err := s.save(dir); err != nil {
		t.Fatal(err)
	}
	var back savedState
	if err := back.load(dir); err != nil || back.Env["A"] != "b" {
		t.Fatalf("same boot: %+v, %v", back, err)
	}
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	boot, err := process.BootID()
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.Replace(data, []byte(boot), []byte("another"), 1)
	if err := os.WriteFile(filepath.Join(dir, stateFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := back.load(dir); err != nil || !back.empty() {
		t.Fatalf("another boot: %+v, %v", back, err)
	}
}

// What a clock that was set back brings forward has to be in the state file:
// the supervisor that comes after a crash sees the clock only as it is then.
func TestAClockSetBackIsRecorded(t *testing.T) {
	t.Parallel()
	c, dir := newClock(), t.TempDir()
	launchctl, _ := serve(t, &Supervisor{Dir: dir, IdleExit: -1, Now: c.Now, After: c.After})
	path := writeJob(t, launchd.Job{
		Label: "test.back", ProgramArguments: []string{"/bin/sh", "-c", "exit 0"}, StartInterval: new(30),
	})
	if code, text := launchctl("bootstrap", domain{"gui", os.Getuid()}.String(), path); code != 0 {
		t.Fatal(text)
	}
	c.advance(-time.Hour)
	launchctl("managername") // after this the supervisor has seen the clock
	var s savedState
	if err := s.load(dir); err != nil || len(s.Jobs) != 1 {
		t.Fatalf("state: %+v, %v", s, err)
	}
	if want := c.Now().Add(30 * time.Second); !s.Jobs[0].Life.Due.Equal(want) {
		t.Fatalf("due %v, want %v", s.Jobs[0].Life.Due, want)
	}
}
