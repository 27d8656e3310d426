package process

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// sZomb is SZOMB of <sys/proc.h>: ended, not yet reaped.
const sZomb = 5

func startTime(pid int) (time.Time, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return time.Time{}, fmt.Errorf("read start time of process %d: %w", pid, err)
	}
	if info.Proc.P_stat == sZomb {
		return time.Time{}, fmt.Errorf("process %d has ended", pid)
	}
	tv := info.Proc.P_starttime
	return time.Unix(tv.Sec, int64(tv.Usec)*int64(time.Microsecond)), nil
}
