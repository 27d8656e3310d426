package emulator_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
)

func awaitDeath(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if syscall.Kill(pid, 0) == syscall.ESRCH {
			return
		}
		// A zombie of another parent counts as dead.
		if stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil && strings.Contains(string(stat), ") Z ") {
			return
		}
	}
	t.Fatalf("process %d lives", pid)
}

func TestAKilledSupervisorIsReplaced(t *testing.T) {
	t.Parallel()
	b := newBench(t, emulator.Knobs{}, "echo $$ >&3"+forever)
	b.job.KeepAlive = &launchd.KeepAlive{Always: true}
	b.ok("setenv", "KEPT", "yes")
	b.bootstrap()
	pid := atoi(t, b.next())
	old := b.supervisor()
	kill(t, old, syscall.SIGKILL)
	awaitDeath(t, old)
	s := b.print()
	if s.PID != pid || s.State != "running" || s.Runs != 1 {
		t.Fatalf("adopted: pid %d (was %d), state %q, runs %d", s.PID, pid, s.State, s.Runs)
	}
	if b.supervisor() == old {
		t.Fatal("the old supervisor answers")
	}
	if got := b.ok("getenv", "KEPT"); got != "yes\n" {
		t.Fatalf("getenv: %q", got)
	}
	kill(t, pid, syscall.SIGKILL)
	next := atoi(t, b.next())
	if s := b.print(); s.PID != next || s.Runs != 2 || s.Fields["last exit code"] != "(failed reap)" {
		t.Fatalf("restarted: pid %d, want %d; runs %d, last exit %q", s.PID, next, s.Runs, s.Fields["last exit code"])
	}
	// The next one finds a job that died unattended.
	b.job.KeepAlive = nil
	old = b.supervisor()
	kill(t, old, syscall.SIGSTOP)
	kill(t, next, syscall.SIGKILL)
	kill(t, old, syscall.SIGKILL)
	awaitDeath(t, old)
	if again := atoi(t, b.okThen("print", b.target())); again == next {
		t.Fatal("the same process again")
	}
}

// Stop ends the jobs of a supervisor that was killed.
func TestStopEndsOrphans(t *testing.T) {
	t.Parallel()
	b := newBench(t, emulator.Knobs{}, "trap 'echo term >&3; exit 0' TERM; echo $$ >&3; while :; do sleep 0.01; done")
	b.job.KeepAlive = &launchd.KeepAlive{Always: true}
	b.bootstrap()
	pid := atoi(t, b.next())
	old := b.supervisor()
	kill(t, old, syscall.SIGKILL)
	awaitDeath(t, old)
	if err := emulator.Stop(t.Context(), b.Dir); err != nil {
		t.Fatal(err)
	}
	if got := b.next(); got != "term" {
		t.Errorf("the job says %q", got)
	}
	awaitDeath(t, pid)
	b.code(113, "print", b.target())
	if err := emulator.Stop(t.Context(), b.Dir); err != nil {
		t.Errorf("a second Stop: %v", err)
	}
}

// okThen runs launchctl and returns what the job says next.
func (b *bench) okThen(args ...string) string {
	b.t.Helper()
	b.ok(args...)
	return b.next()
}

func TestBootoutGoesOnInTheNextSupervisor(t *testing.T) {
	t.Parallel()
	b := newBench(t, emulator.Knobs{}, "trap 'echo term >&3' TERM; echo $$ >&3"+forever)
	b.job.RunAtLoad = new(true)
	b.job.ExitTimeOut = new(1)
	b.bootstrap()
	pid := atoi(t, b.next())
	b.ok("bootout", b.target())
	kill(t, b.supervisor(), syscall.SIGKILL)
	if r := b.Run("bootout", "--wait", b.target()); r.Code != 0 && r.Code != 3 && r.Code != 118 {
		t.Fatalf("bootout: %+v", r)
	}
	awaitDeath(t, pid)
}

func TestTwoAtOnceEndWithOneSupervisor(t *testing.T) {
	t.Parallel()
	b := newBench(t, emulator.Knobs{}, "echo $$ >&3"+forever)
	b.write()
	var wg sync.WaitGroup
	codes := make(chan int, 8)
	for range cap(codes) {
		wg.Go(func() { codes <- b.Run("bootstrap", gui, b.plist).Code })
	}
	wg.Wait()
	close(codes)
	loaded := 0
	for c := range codes {
		switch c {
		case 0:
			loaded++
		case 5:
		default:
			t.Errorf("bootstrap = %d", c)
		}
	}
	if loaded != 1 {
		t.Errorf("%d bootstraps succeeded, want 1", loaded)
	}
	log, err := os.ReadFile(b.Dir + "/launchd.log")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), "msg=launchd.started"); n != 1 {
		t.Errorf("%d supervisors started", n)
	}
}

// stoppable is a job that tells its pid, and says bye.
const stoppable = "trap 'echo bye >&3; exit 0' TERM; echo $$ >&3" + forever

func TestASupervisorTakesItsJobsAlong(t *testing.T) {
	t.Parallel()
	b := newBench(t, emulator.Knobs{}, stoppable)
	b.job.KeepAlive = &launchd.KeepAlive{Always: true}
	b.bootstrap()
	pid, supervisor := atoi(t, b.next()), b.supervisor()
	kill(t, supervisor, syscall.SIGTERM)
	if got := b.next(); got != "bye" {
		t.Fatalf("job says %q", got)
	}
	awaitDeath(t, pid)
	awaitDeath(t, supervisor)
	b.code(113, "print", b.target())
}

// Somebody deletes the directory: what depends on the jobs must not notice.
// Only a supervisor in a new directory of that name ends the old one.
func TestJobsOutliveTheDirectory(t *testing.T) {
	t.Parallel()
	b := newBench(t, emulator.Knobs{}, stoppable)
	b.job.KeepAlive = &launchd.KeepAlive{Always: true}
	b.job.ThrottleInterval = new(1)
	b.bootstrap()
	first, supervisor := atoi(t, b.next()), b.supervisor()
	// From here on nothing more is written into the directory.
	b.until("running", func(s *launchd.Service) bool { return s.State == "running" })
	if err := os.RemoveAll(b.Dir); err != nil {
		t.Fatal(err)
	}
	kill(t, first, syscall.SIGKILL)
	second := atoi(t, b.next())
	b.code(0, "setenv", "A", "b")
	if got := b.next(); got != "bye" {
		t.Fatalf("job says %q", got)
	}
	awaitDeath(t, second)
	awaitDeath(t, supervisor)
	b.code(113, "print", b.target())
}

func TestASupervisorThatCannotStart(t *testing.T) {
	t.Parallel()
	for name, start := range map[string][]string{
		"no command":   nil,
		"no program":   {"/no/such/program"},
		"ends at once": {"/bin/sh", "-c", "echo why >&2; exit 3"},
	} {
		var out, errs bytes.Buffer
		l := emulator.Launchctl{Dir: t.TempDir(), Start: start}
		code := l.Run(t.Context(), []string{"setenv", "A", "b"}, &out, &errs)
		if code != 118 || !strings.HasPrefix(errs.String(), "launchctl: start supervisor: ") {
			t.Errorf("%s: %d, %q", name, code, errs.String())
		}
	}
}

// Somebody who reads the client's output to its end must not wait for the
// supervisor.
func TestASupervisorHoldsNothingOfItsClient(t *testing.T) {
	t.Parallel()
	b := newBench(t, emulator.Knobs{}, "echo $$ >&3"+forever)
	b.job.RunAtLoad = new(true)
	b.write()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.CommandContext(t.Context(), b.Executable(), "bootstrap", gui, b.plist)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = b.Env(), w, w, []*os.File{w}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	b.next()
	if text, err := io.ReadAll(r); err != nil || len(text) > 0 {
		t.Fatalf("%q, %v", text, err)
	}
	b.print()
}

func TestLookingDoesNotStartASupervisor(t *testing.T) {
	t.Parallel()
	b := newBench(t, emulator.Knobs{}, "")
	if err := os.RemoveAll(b.Dir); err != nil {
		t.Fatal(err)
	}
	b.code(113, "print", b.target())
	b.code(3, "bootout", b.target())
	b.code(113, "kickstart", b.target())
	b.code(0, "list")
	b.code(0, "getenv", "HTTPS_PROXY")
	b.code(0, "help", "bootout")
	if _, err := os.Stat(b.Dir); !os.IsNotExist(err) {
		t.Fatalf("the directory is back: %v", err)
	}
}
