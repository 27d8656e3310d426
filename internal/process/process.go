// Package process tells one process from a later one that got its number.
package process

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// startTolerance covers the grain of the operating systems' answers: Linux
// counts clock ticks of 10 ms from a boot time of whole seconds.
const startTolerance = 2 * time.Second

// ID names the process pid for good: no other process has or will have the
// same ID, whatever becomes of its number and of the wall clock. It fails for a
// process that has ended, a zombie included. An ID is to be compared and kept,
// not read.
func ID(pid int) (string, error) {
	if pid <= 0 {
		return "", fmt.Errorf("identify process %d: no such number", pid)
	}
	start, err := startMark(pid)
	if err != nil {
		return "", fmt.Errorf("identify process %d: %w", pid, err)
	}
	boot, err := BootID()
	if err != nil {
		return "", fmt.Errorf("identify process %d: %w", pid, err)
	}
	return fmt.Sprintf("%s/%d/%s", boot, pid, start), nil
}

// Suspended reports whether the process is stopped, as by SIGSTOP: it lives, and
// does nothing.
func Suspended(pid int) bool { return suspended(pid) }

// Is reports whether the process pid runs and has this ID.
func Is(pid int, id string) bool {
	now, err := ID(pid)
	return err == nil && now == id
}

// BootID differs between two runs of the system.
func BootID() (string, error) { return bootID() }

// StartTime is when the process pid was started. It follows the wall clock: on
// Linux it moves when that is set. To know a process again, prefer [ID].
func StartTime(pid int) (time.Time, error) { return startTime(pid) }

// Lives reports whether the process pid runs (also as another user's) and is
// the one that was started at startedAt, so not a later one with its number.
func Lives(pid int, startedAt time.Time) bool {
	if pid <= 0 {
		return false
	}
	if err := unix.Kill(pid, 0); err != nil && !errors.Is(err, unix.EPERM) {
		return false
	}
	at, err := startTime(pid)
	if err != nil {
		return false
	}
	return at.Sub(startedAt).Abs() <= startTolerance
}
