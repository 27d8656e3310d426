package doctor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A client that hangs behind a script is given up, with what the script
// started.
func TestAHungClientIsGivenUp(t *testing.T) {
	t.Parallel()
	note := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for {
			if data, err := os.ReadFile(note); err == nil && strings.HasSuffix(string(data), "\n") || t.Context().Err() != nil {
				cancel()
				return
			}
			time.Sleep(10 * time.Millisecond) // another program's file is no event
		}
	}()
	err := try(ctx, []string{"sh", "-c", "sleep 1000 & echo $! >" + note + "; wait"}, os.Environ())
	if !errors.Is(err, errSlow) {
		t.Fatalf("it ended with %v", err)
	}
	data, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); syscall.Kill(pid, 0) == nil; {
		if stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil && strings.Contains(string(stat), ") Z ") {
			break // nobody reaps it here
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d lives", pid)
		}
	}
}
