package emulator_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
)

const forever = "\nwhile :; do sleep 1; done"

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		t.Fatalf("not a number: %q", s)
	}
	return n
}

func kill(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatalf("kill %d: %v", pid, err)
	}
}

func TestLifeOfAJobWithoutKeepAlive(t *testing.T) {
	t.Parallel()
	b := newBench(t, emulator.Knobs{}, "echo $$ >&3"+forever)
	b.bootstrap()
	if s := b.print(); s.State != "not running" || s.PID != 0 || s.Runs != 0 {
		t.Fatalf("after bootstrap: state %q, pid %d, runs %d", s.State, s.PID, s.Runs)
	}
	pid := atoi(t, b.ok("kickstart", "-p", b.target()))
	if got := atoi(t, b.next()); got != pid {
		t.Fatalf("job runs as %d, kickstart -p said %d", got, pid)
	}
	s := b.print()
	if s.State != "running" || s.PID != pid || s.Path != b.plist || s.Runs != 1 {
		t.Fatalf("running: %+v", s)
	}
	kill(t, pid, syscall.SIGKILL)
	s = b.until("the job is dead", func(s *launchd.Service) bool { return s.PID == 0 })
	if s.State != "not running" || s.LastSignal != "Killed: 9" {
		t.Fatalf("a crash without KeepAlive: state %q, signal %q", s.State, s.LastSignal)
	}
	b.ok("bootout", b.target())
	b.code(113, "print", b.target())
}

func TestKeepAliveRestartsAfterACrash(t *testing.T) {
	t.Parallel()
	b := newBench(t, emulator.Knobs{}, "echo $$ >&3"+forever)
	b.job.KeepAlive = &launchd.KeepAlive{Always: true}
	b.bootstrap()
	first := atoi(t, b.next())
	began := time.Now()
	kill(t, first, syscall.SIGKILL)
	second := atoi(t, b.next())
	if second == first {
		t.Fatal("the same process again")
	}
	if took := time.Since(began); took > patience {
		t.Fatalf("restart took %v", took)
	}
	s := b.until("running", func(s *launchd.Service) bool { return s.State == "running" })
	if s.Runs != 2 || s.LastSignal != "Killed: 9" || s.ImmediateReason != "semaphore" {
		t.Fatalf("runs %d, signal %q, reason %q", s.Runs, s.LastSignal, s.ImmediateReason)
	}
}

func TestThrottleKeepsStartsApart(t *testing.T) {
	t.Parallel()
	b := newBench(t, emulator.Knobs{}, "date +%s >&3; exit 7")
	b.job.ThrottleInterval = new(2)
	b.job.KeepAlive = &launchd.KeepAlive{Always: true}
	b.bootstrap()
	last := atoi(t, b.next())
	for range 2 {
		// The exact time is a matter of the state machine's test; here it is
		// only that the throttle applies. The job's own start takes time too.
		this := atoi(t, b.next())
		if apart := this - last; apart < 1 {
			t.Fatalf("two starts %d s apart", apart)
		}
		last = this
	}
	s := b.until("throttled", func(s *launchd.Service) bool { return s.State == "spawn scheduled" })
	if s.LastExitCode == nil || *s.LastExitCode != 7 || s.MinimumRuntime != 2*time.Second {
		t.Fatalf("last exit %v, minimum runtime %v", s.LastExitCode, s.MinimumRuntime)
	}
}

func TestBootoutWaitsForTheProcess(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, emulator.Knobs{}, "trap 'echo term >&3; read line <"+gate+"; exit 0' TERM; echo $$ >&3"+forever)
	b.job.RunAtLoad = new(true)
	b.job.ExitTimeOut = new(0)
	b.bootstrap()
	pid := atoi(t, b.next())
	b.ok("bootout", b.target())
	if got := b.next(); got != "term" {
		t.Fatalf("job says %q", got)
	}
	if s := b.print(); s.State != "SIGTERMed" || s.PID != pid {
		t.Fatalf("after bootout: state %q, pid %d", s.State, s.PID)
	}
	r := b.code(5, "bootstrap", gui, b.plist)
	if !strings.Contains(r.Stderr, "Bootstrap failed: 5: Input/output error") {
		t.Fatalf("stderr %q", r.Stderr)
	}
	if err := os.WriteFile(gate, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	b.awaitGone()
	b.ok("bootstrap", gui, b.plist)
}

func TestBootoutKillsAfterTheExitTimeout(t *testing.T) {
	t.Parallel()
	b := newBench(t, emulator.Knobs{}, "trap 'echo term >&3' TERM; echo $$ >&3"+forever)
	b.job.RunAtLoad = new(true)
	b.job.ExitTimeOut = new(2)
	b.bootstrap()
	pid := atoi(t, b.next())
	began := time.Now()
	b.ok("bootout", "--wait", b.target())
	if took := time.Since(began); took < 2*time.Second {
		t.Fatalf("gone after %v, before the exit timeout", took)
	}
	b.code(113, "print", b.target())
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Fatalf("the process: %v", err)
	}
}

func TestKickstartReplacesTheProcess(t *testing.T) {
	t.Parallel()
	b := newBench(t, emulator.Knobs{}, "trap 'echo bye >&3; exit 0' TERM; echo $$ >&3"+forever)
	b.job.RunAtLoad = new(true)
	b.bootstrap()
	first := atoi(t, b.next())
	b.ok("kickstart", b.target())
	if s := b.print(); s.PID != first {
		t.Fatalf("kickstart without -k: pid %d, was %d", s.PID, first)
	}
	second := atoi(t, b.ok("kickstart", "-k", "-p", b.target()))
	if b.next() != "bye" || atoi(t, b.next()) != second || first == second {
		t.Fatalf("kickstart -k: %d, was %d", second, first)
	}
	if err := syscall.Kill(first, 0); err != syscall.ESRCH {
		t.Fatalf("the old process: %v", err)
	}
}

func TestTheProcessGroupDiesWithTheJob(t *testing.T) {
	t.Parallel()
	b := newBench(t, emulator.Knobs{}, "sleep 1000 3>&- & echo $! >&3; read line <"+os.DevNull+"; exit 0")
	b.bootstrap()
	b.ok("kickstart", b.target())
	atoi(t, b.next())
	b.until("the job is over", func(s *launchd.Service) bool { return s.PID == 0 && s.Runs == 1 })
	noneLeft(t, b.label)
}

func TestWhatAJobIsGiven(t *testing.T) {
	t.Parallel()
	b := newBench(t, emulator.Knobs{}, `
		echo "PATH=$PATH FROM=$FROM OWN=$OWN LEAK=$LAUNCHDTEST HOME=${HOME:+set} NAME=$XPC_SERVICE_NAME" >&3
		echo "$(pwd) $(umask) $(ulimit -Sn)" >&3
		ps -o sid= -o pid= -p $$ >&3
		echo to stdout; echo to stderr >&2; cat >&3; echo end >&3`)
	out := filepath.Join(t.TempDir(), "made", "by", "launchd", "out.log")
	b.job.StandardOutPath, b.job.StandardErrorPath = out, out
	b.job.EnvironmentVariables = map[string]string{"OWN": "plist"}
	b.job.Umask = &launchd.IntOrString{Int: 0o77}
	b.job.SoftResourceLimits = &launchd.ResourceLimits{NumberOfFiles: new(123)}
	b.ok("setenv", "FROM", "table")
	b.ok("setenv", "OWN", "table")
	b.bootstrap()
	b.ok("kickstart", b.target())
	want := "PATH=/usr/bin:/bin:/usr/sbin:/sbin FROM=table OWN=plist LEAK= HOME=set NAME=" + b.label
	if got := b.next(); got != want {
		t.Errorf("environment %q, want %q", got, want)
	}
	if got := b.next(); got != "/ 0077 123" {
		t.Errorf("directory, umask, files: %q", got)
	}
	if f := strings.Fields(b.next()); len(f) != 2 || f[0] != f[1] {
		t.Errorf("session and pid %q: not a session of its own", f)
	}
	if got := b.next(); got != "end" {
		t.Errorf("stdin has %q", got)
	}
	b.until("the job is over", func(s *launchd.Service) bool { return s.PID == 0 })
	data, err := os.ReadFile(out)
	if err != nil || string(data) != "to stdout\nto stderr\n" {
		t.Errorf("log %q, %v", data, err)
	}
}

func TestSpawnFailuresAre78(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*launchd.Job){
		"missing program":           func(j *launchd.Job) { j.Program = "/no/such/program" },
		"unopenable log":            func(j *launchd.Job) { j.StandardOutPath = "/dev/null/out.log" },
		"missing directory":         func(j *launchd.Job) { j.WorkingDirectory = "/no/such/dir" },
		"bare name not in the path": func(j *launchd.Job) { j.ProgramArguments = []string{"no-such-program"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, emulator.Knobs{}, "echo ran >&3")
			spoil(&b.job)
			b.bootstrap()
			b.ok("kickstart", b.target())
			s := b.until("spawn failed", func(s *launchd.Service) bool { return s.PID == 0 && s.Runs == 1 })
			if s.LastExitCode == nil || *s.LastExitCode != 78 || s.JobState != "spawn failed" || s.Fields["last exit code"] != "78: EX_CONFIG" {
				t.Fatalf("last exit %q, job state %q", s.Fields["last exit code"], s.JobState)
			}
		})
	}
}
