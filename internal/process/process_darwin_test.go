package process

import (
	"syscall"
	"unsafe"
)

// waitZombie is waitid(P_PID, pid, …, WEXITED|WNOWAIT); x/sys has no wrapper
// of it for macOS. The constants are those of <sys/wait.h>.
func waitZombie(pid int) error {
	const (
		pPID    = 1
		wExited = 0x4
		wNoWait = 0x20
	)
	var siginfo [104]byte // sizeof(siginfo_t)
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, pPID, uintptr(pid),
			uintptr(unsafe.Pointer(&siginfo)), wExited|wNoWait, 0, 0)
		if errno == 0 {
			return nil
		}
		if errno != syscall.EINTR {
			return errno
		}
	}
}
