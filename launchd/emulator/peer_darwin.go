package emulator

import "golang.org/x/sys/unix"

// peerPID is the process at the other end of a Unix socket, see <sys/un.h>.
func peerPID(fd int) (int, error) {
	return unix.GetsockoptInt(fd, unix.SOL_LOCAL, unix.LOCAL_PEERPID)
}
