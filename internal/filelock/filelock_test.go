package filelock

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// childEnv makes the test binary a program that locks the file it names, says
// so on standard output, and runs until it is killed.
const childEnv = "FILELOCK_TEST_CHILD"

func TestMain(m *testing.M) {
	path := os.Getenv(childEnv)
	if path == "" {
		os.Exit(m.Run())
	}
	if _, err := Try(path); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("locked")
	bufio.NewReader(os.Stdin).ReadString('\n') // until it is killed, or its parent is
}

func TestTryExcludes(t *testing.T) {
	for _, tt := range []struct {
		name string
		path func(dir string) string
	}{
		{"file", func(dir string) string { return filepath.Join(dir, "lock") }},
		{"directory", func(dir string) string { return dir }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := tt.path(t.TempDir())
			first, err := Try(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Try(path); !errors.Is(err, ErrHeld) {
				t.Errorf("second: %v, want ErrHeld", err)
			}
			if err := first.Unlock(); err != nil {
				t.Fatal(err)
			}
			again, err := Try(path)
			if err != nil {
				t.Fatal(err)
			}
			again.Unlock()
			if _, err := os.Stat(path); err != nil {
				t.Error("the file is gone:", err)
			}
		})
	}
}

func TestTryCreatesPrivateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := Try(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Unlock()
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if _, err := Try(filepath.Join(path, "below")); err == nil || errors.Is(err, ErrHeld) {
		t.Errorf("no directory: %v", err)
	}
	if _, err := Try(filepath.Join(t.TempDir(), "none", "lock")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

// The lock dies with a process that gets no chance to release it, and a child
// that the holder started does not inherit it.
func TestLockEndsWithItsProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	cmd.Stderr = os.Stderr
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "locked\n" {
		t.Fatalf("child said %q, %v", line, err)
	}
	if _, err := Try(path); !errors.Is(err, ErrHeld) {
		t.Fatalf("while the child lives: %v, want ErrHeld", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	l, err := Wait(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	l.Unlock()
	cmd.Wait()
}

func TestLockIsNotInherited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := Try(path)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
	again, err := Try(path)
	if err != nil {
		t.Error("a child holds the lock:", err)
	} else {
		again.Unlock()
	}
	stdin.Close()
	cmd.Wait()
}

// flock answers at once and only the poll waits, so fake time is exact.
func TestWaitPolls(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		held, err := Try(path)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), 35*time.Millisecond, errors.New("no patience"))
		defer cancel()
		if _, err := Wait(ctx, path); !errors.Is(err, ErrHeld) || err.Error() == ErrHeld.Error() {
			t.Errorf("Wait = %v", err)
		}
		if got := time.Since(start); got != 35*time.Millisecond {
			t.Errorf("gave up after %v", got)
		}
		time.AfterFunc(25*time.Millisecond, func() { held.Unlock() })
		l, err := Wait(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Unlock()
		if got := time.Since(start); got != 65*time.Millisecond {
			t.Errorf("got the lock after %v, want at the third poll", got)
		}
	})
}

func TestOneHolderAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var inside atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				l, err := Wait(t.Context(), path)
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d holders", n)
				}
				inside.Add(-1)
				l.Unlock()
			}
		})
	}
	wg.Wait()
}
