package emulator

import "golang.org/x/sys/unix"

// executable is this program even after its file was replaced or removed,
// see proc(5).
func executable() (string, error) { return "/proc/self/exe", nil }

// awaitZombie returns when pid is dead but not yet reaped.
func awaitZombie(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return
		}
	}
}
