package proxyedge

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// poller waits for many sockets at once, with epoll(7).
type poller struct {
	fd     int
	events [128]unix.EpollEvent // wait's
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return &poller{fd: fd}, nil
}

// arm has wait tell once that fd is readable, at its end or broken, at once if
// it is so already. Closing fd disarms it.
func (p *poller) arm(fd int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT, Fd: int32(fd)}
	err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &event)
	if errors.Is(err, unix.EEXIST) {
		err = unix.EpollCtl(p.fd, unix.EPOLL_CTL_MOD, fd, &event)
	}
	return os.NewSyscallError("epoll_ctl", err)
}

// wait appends descriptors that were armed and are ready to all.
func (p *poller) wait(all []int) ([]int, error) {
	for {
		n, err := unix.EpollWait(p.fd, p.events[:], -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return all, os.NewSyscallError("epoll_wait", err)
		}
		for _, event := range p.events[:n] {
			all = append(all, int(event.Fd))
		}
		return all, nil
	}
}

func (p *poller) close() { unix.Close(p.fd) }
