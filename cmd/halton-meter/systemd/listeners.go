package systemd

import (
	"errors"
	"net"
	"os"
	"strconv"
	"syscall"
)

// firstFile is the first descriptor that systemd hands over: sd_listen_fds(3).
const firstFile = 3

// Listeners are the listening sockets that systemd holds for this process,
// none if it was started otherwise. They can be taken once, since a child, or
// this process after an exec, must not believe that they are meant for it.
func Listeners() ([]net.Listener, error) {
	pid, count := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(name)
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil {
		return nil, err
	}
	var listeners []net.Listener
	var failed error
	for fd := firstFile; fd < firstFile+n; fd++ {
		syscall.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), "socket of systemd")
		ln, err := net.FileListener(f)
		f.Close()
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		listeners = append(listeners, ln)
	}
	return listeners, failed
}
