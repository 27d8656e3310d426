package emulator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/haltonlabs/halton-meter/internal/filelock"
	"github.com/haltonlabs/halton-meter/internal/process"
)

// sign writes into the locked file who holds it, for [Holder].
func (s *Supervisor) sign() error {
	id, err := process.ID(os.Getpid())
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.Dir, lockFile), fmt.Appendf(nil, "%d %s\n", os.Getpid(), id), 0o600)
}

// Holder is the process of the supervisor in dir, also of one that hangs or has
// lost its socket; 0 if none runs. To end it costs the jobs nothing: the next
// supervisor takes them over.
func Holder(dir string) int {
	path := filepath.Join(dir, lockFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	text, id, _ := strings.Cut(strings.TrimSpace(string(data)), " ")
	pid, err := strconv.Atoi(text)
	if err != nil || !process.Is(pid, id) {
		return 0
	}
	lock, err := filelock.Try(path)
	if err == nil {
		// It has let go of it, and is about to end.
		lock.Unlock()
		return 0
	}
	if !errors.Is(err, filelock.ErrHeld) {
		return 0
	}
	return pid
}

// Kill ends the supervisor in dir, whatever it is at, and returns when it is
// gone. Its jobs run on, and the next supervisor takes them over.
func Kill(ctx context.Context, dir string) error {
	for pid := Holder(dir); pid != 0 && Holder(dir) == pid; {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end supervisor %d: %w", pid, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("end supervisor %d: %w", pid, context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}
