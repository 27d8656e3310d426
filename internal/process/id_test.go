package process

import (
	"os"
	"strings"
	"testing"
)

func TestIDTellsProcessesApart(t *testing.T) {
	cmd, stdin := startChild(t, "")
	pid := cmd.Process.Pid
	id, err := ID(pid)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ID(pid); err != nil || again != id {
		t.Errorf("asked again: %q, %v; was %q", again, err, id)
	}
	boot, err := BootID()
	if err != nil || boot == "" || strings.TrimSpace(boot) != boot {
		t.Fatalf("boot id %q, %v", boot, err)
	}
	ours, err := ID(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		pid  int
		id   string
		want bool
	}{
		{"itself", pid, id, true},
		{"another process", os.Getpid(), id, false},
		{"another ID", pid, ours, false},
		{"an earlier owner of the number", pid, id + "0", false},
		{"another run of the system", pid, strings.Replace(id, boot, "another", 1), false},
		{"no ID", pid, "", false},
		{"no pid", 0, id, false},
		{"a process group", -pid, id, false},
		{"beyond all pids", 1 << 30, id, false},
	} {
		if got := Is(tt.pid, tt.id); got != tt.want {
			t.Errorf("%s: Is = %v", tt.name, got)
		}
	}
	stdin.Close()
	if err := waitZombie(pid); err != nil {
		t.Fatal(err)
	}
	if id, err := ID(pid); err == nil {
		t.Errorf("a zombie has the ID %q", id)
	}
	cmd.Wait()
	if id, err := ID(pid); err == nil {
		t.Errorf("a process that has ended has the ID %q", id)
	}
}

// Who is asked does not matter: a supervisor that comes later asks about
// processes that are not its children.
func TestIDOfAForeignProcess(t *testing.T) {
	id, err := ID(1)
	if err != nil || !Is(1, id) {
		t.Errorf("process 1: %q, %v", id, err)
	}
}
