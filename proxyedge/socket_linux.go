package proxyedge

import (
	"syscall"
	"unsafe"
)

// readSocket is read(2) on a socket that does not block. The scheduler is not
// told, as it must be of a call that may take long: that would wake its monitor
// thread for each message of a tunnel, a third of all changes of thread.
func readSocket(fd uintptr, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b))) //nolint:gosec // as syscall.Read does
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// writeSocket is write(2), likewise.
func writeSocket(fd uintptr, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b))) //nolint:gosec // as syscall.Write does
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
