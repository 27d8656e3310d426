// Package filelock takes advisory locks between processes with flock(2), the
// one kind that Linux and macOS share and that the kernel releases when the
// holder dies.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrHeld means that another holder has the lock.
var ErrHeld = errors.New("lock is held by another process")

// Lock is a held lock. Two Locks on one path exclude each other, also within
// one process.
type Lock struct{ file *os.File }

// Try takes the lock on path at once or returns ErrHeld. The file is created
// with mode 0600 if it is missing; path may also be a directory.
func Try(path string) (*Lock, error) {
	f, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrHeld
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &Lock{file: f}, nil
}

// Wait is Try again and again until ctx ends.
func Wait(ctx context.Context, path string) (*Lock, error) {
	// flock has no deadline, and a blocked call cannot be taken back, so it
	// polls. 10 ms is far below what a person notices in a command.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		l, err := Try(path)
		if !errors.Is(err, ErrHeld) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// Unlock releases the lock. The file stays: to remove it would let a third
// process lock a new file of the same name beside a waiting one.
func (l *Lock) Unlock() error { return l.file.Close() }

func open(path string) (*os.File, error) {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return os.Open(path)
	}
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
}
