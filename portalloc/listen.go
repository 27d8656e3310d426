package portalloc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// listen opens host:port, or fails if anybody else would lose traffic by it.
func listen(ctx context.Context, host string, port int) (net.Listener, error) {
	// BSD sockets with SO_REUSEADDR, which Go sets on every listener, may
	// bind 127.0.0.1:p beside a listener on *:p and then get its loopback
	// connections. Linux refuses that itself, see socket(7).
	if runtime.GOOS != "linux" && port != 0 {
		if err := wildcardFree(host, port); err != nil {
			return nil, err
		}
	}
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
}

// wildcardFree fails if a listener on all addresses of host's family holds
// port. It binds and does not listen, so that no firewall asks the user about
// a program that opens a port to the network.
func wildcardFree(host string, port int) error {
	family, addr := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: port})
	if ip, err := netip.ParseAddr(host); err == nil && !ip.Unmap().Is4() {
		family, addr = unix.AF_INET6, &unix.SockaddrInet6{Port: port}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	// Without it, connections in TIME_WAIT of our own last run would count.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Bind(fd, addr); err != nil {
		return fmt.Errorf("port %d on all addresses: %w", port, os.NewSyscallError("bind", err))
	}
	return nil
}

// taken reports whether err says that this one port is not to be had. Any
// other error (no descriptors, no such address) would meet each candidate.
func taken(err error) bool {
	return errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)
}
