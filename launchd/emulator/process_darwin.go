package emulator

import (
	"os"

	"golang.org/x/sys/unix"
)

func executable() (string, error) { return os.Executable() }

// awaitZombie returns when pid is dead but not yet reaped. It asks kqueue,
// because waitid(2) returns for a stopped process too (golang/go#19314).
func awaitZombie(pid int) {
	kq, err := unix.Kqueue()
	if err != nil {
		return
	}
	defer unix.Close(kq)
	var exit unix.Kevent_t
	unix.SetKevent(&exit, pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	exit.Fflags = unix.NOTE_EXIT
	for {
		_, err := unix.Kevent(kq, []unix.Kevent_t{exit}, make([]unix.Kevent_t, 1), nil)
		if err != unix.EINTR {
			return
		}
	}
}
