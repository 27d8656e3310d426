package process

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// sZomb is SZOMB of <sys/proc.h>: ended, not yet reaped.
const sZomb = 5

// sStop is SSTOP of <sys/proc.h>.
const sStop = 4

func suspended(pid int) bool {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	return err == nil && info.Proc.P_stat == sStop
}

func startTime(pid int) (time.Time, error) {
	tv, err := startTimeval(pid)
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(tv.Sec, int64(tv.Usec)*int64(time.Microsecond)), nil
}

// startMark is the wall clock's time at fork. The kernel noted it then, so a
// clock that is set later does not change it.
func startMark(pid int) (string, error) {
	tv, err := startTimeval(pid)
	return fmt.Sprintf("%d.%06d", tv.Sec, tv.Usec), err
}

func bootID() (string, error) {
	id, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return "", fmt.Errorf("read boot session: %w", err)
	}
	return id, nil
}

func startTimeval(pid int) (unix.Timeval, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return unix.Timeval{}, fmt.Errorf("read start time of process %d: %w", pid, err)
	}
	if info.Proc.P_stat == sZomb {
		return unix.Timeval{}, fmt.Errorf("process %d has ended", pid)
	}
	return info.Proc.P_starttime, nil
}
