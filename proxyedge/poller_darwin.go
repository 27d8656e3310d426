package proxyedge

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// poller waits for many sockets at once, with kqueue(2).
type poller struct {
	fd     int
	events [128]unix.Kevent_t // wait's
}

func newPoller() (*poller, error) {
	// There is no flag for it: no child may be forked in between.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Kqueue()
	if err != nil {
		return nil, os.NewSyscallError("kqueue", err)
	}
	unix.CloseOnExec(fd)
	return &poller{fd: fd}, nil
}

// arm has wait tell once that fd is readable, at its end or broken, at once if
// it is so already. Closing fd disarms it.
func (p *poller) arm(fd int) error {
	var change [1]unix.Kevent_t
	unix.SetKevent(&change[0], fd, unix.EVFILT_READ, unix.EV_ADD|unix.EV_ONESHOT)
	for {
		_, err := unix.Kevent(p.fd, change[:], nil, nil)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("kevent", err)
		}
	}
}

// wait appends descriptors that were armed and are ready to all.
func (p *poller) wait(all []int) ([]int, error) {
	for {
		n, err := unix.Kevent(p.fd, nil, p.events[:], nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return all, os.NewSyscallError("kevent", err)
		}
		for i := range p.events[:n] {
			all = append(all, int(p.events[i].Ident))
		}
		return all, nil
	}
}

func (p *poller) close() { unix.Close(p.fd) }
