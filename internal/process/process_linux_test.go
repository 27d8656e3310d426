package process

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func waitZombie(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return err
		}
	}
}

// The name in /proc/<pid>/stat may look like the fields that follow it.
func TestHostileProcessName(t *testing.T) {
	cmd, stdin := startChild(t, "printf ') Z 1 (x) 2' >/proc/$$/comm")
	defer cmd.Wait()
	defer stdin.Close()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	if err != nil || !bytes.Contains(stat, []byte("() Z 1 (x) 2) ")) {
		t.Fatalf("no hostile name to test with: %q, %v", stat, err)
	}
	ours, err := StartTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	at, err := StartTime(cmd.Process.Pid)
	if err != nil || at.Before(ours) {
		t.Errorf("start time %v, %v; ours is %v", at, err, ours)
	}
}
