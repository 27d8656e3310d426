// Package process tells one process from a later one that got its number.
package process

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// startTolerance covers the grain of the operating systems' answers: Linux
// counts clock ticks of 10 ms from a boot time of whole seconds.
const startTolerance = 2 * time.Second

// StartTime is when the process pid was started.
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
