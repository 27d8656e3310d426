package process

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// startChild starts a shell that runs script, if any, and then waits for the
// end of its standard input.
func startChild(t *testing.T, script string) (*exec.Cmd, io.Closer) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script+"\necho up; read line")
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return cmd, stdin
}

func TestLivesTellsProcessesApart(t *testing.T) {
	cmd, stdin := startChild(t, "")
	pid := cmd.Process.Pid
	at, err := StartTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		pid  int
		at   time.Time
		want bool
	}{
		{"itself", pid, at, true},
		{"rounded to seconds", pid, at.Truncate(time.Second), true},
		{"in another zone", pid, at.In(time.FixedZone("x", 3600)), true},
		{"an earlier owner of the number", pid, at.Add(-startTolerance - time.Millisecond), false},
		{"a later owner of the number", pid, at.Add(startTolerance + time.Millisecond), false},
		{"no start time", pid, time.Time{}, false},
		{"no pid", 0, at, false},
		{"a process group", -pid, at, false},
		{"beyond all pids", 1 << 30, at, false},
	} {
		if got := Lives(tt.pid, tt.at); got != tt.want {
			t.Errorf("%s: Lives = %v", tt.name, got)
		}
	}
	stdin.Close()
	cmd.Wait() // fails: read met the end of its input
	if Lives(pid, at) {
		t.Error("lives after its end")
	}
	if _, err := StartTime(pid); err == nil {
		t.Error("StartTime of a process that has ended")
	}
}

func TestSuspended(t *testing.T) {
	cmd, stdin := startChild(t, "")
	pid := cmd.Process.Pid
	if Suspended(pid) {
		t.Error("before SIGSTOP")
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for !Suspended(pid) {
		if t.Context().Err() != nil || !Lives(pid, mustStart(t, pid)) {
			t.Fatal("it never was")
		}
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	stdin.Close()
	cmd.Wait() // fails: read met the end of its input
	if Suspended(pid) {
		t.Error("after its end")
	}
}

func mustStart(t *testing.T, pid int) time.Time {
	t.Helper()
	at, err := StartTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// A zombie still has its number and its start time, and is dead.
func TestZombieIsDead(t *testing.T) {
	cmd, stdin := startChild(t, "")
	pid := cmd.Process.Pid
	at, err := StartTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	stdin.Close()
	// WNOWAIT returns when the child has ended, and leaves it a zombie.
	if err := waitZombie(pid); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, 0); err != nil {
		t.Fatalf("no zombie to test with: %v", err)
	}
	if Lives(pid, at) {
		t.Error("a zombie lives")
	}
	cmd.Wait()
}

func TestStartTimeOfThisProcess(t *testing.T) {
	at, err := StartTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// Not a limit on how long the test took: only that it lies in the past,
	// give or take the grain of the answer.
	if until := time.Until(at); until > startTolerance {
		t.Errorf("started %v in the future", until)
	}
	if !Lives(os.Getpid(), at) {
		t.Error("this process does not live")
	}
}

// A process of another user lives too. Process 1 is root's; where the tests
// run as root themselves, it still answers for a process that is not a child.
func TestForeignProcess(t *testing.T) {
	at, err := StartTime(1)
	if err != nil {
		t.Fatal(err)
	}
	if !Lives(1, at) {
		t.Error("process 1 does not live")
	}
}
