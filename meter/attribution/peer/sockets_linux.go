package peer

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A diagnosis is what the kernel says of a client's socket.
type diagnosis struct {
	client netip.AddrPort
	// asked: the kernel was asked for exactly this connection, and answered.
	asked, found bool
	inode        uint64
	uid          uint32
}

// diagnose asks for each client's connection to the server with sock_diag(7),
// which needs no rights: 10 µs each, where the tables of /proc/net cost
// milliseconds however few connections there are, as the kernel goes through
// the whole hash table for them.
func diagnose(server netip.AddrPort, clients []netip.AddrPort) []diagnosis {
	all := make([]diagnosis, len(clients))
	for i, c := range clients {
		all[i].client = c
	}
	if !server.IsValid() {
		return all
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return all
	}
	defer unix.Close(fd)
	// The kernel answers within the call that asks; this is for one that does not.
	if unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}) != nil {
		return all
	}
	for i := range all {
		if all[i].client.Addr().Is4() == server.Addr().Is4() {
			if err := all[i].ask(fd, server); err != nil {
				return all
			}
		}
	}
	return all
}

// The layouts of <linux/netlink.h> and <linux/inet_diag.h>.
const (
	sizeofHeader  = 16 // struct nlmsghdr
	sizeofRequest = 56 // struct inet_diag_req_v2
	sizeofAnswer  = 72 // struct inet_diag_msg
	byFamily      = 20 // SOCK_DIAG_BY_FAMILY
)

// ask sends one request and reads its answer.
func (d *diagnosis) ask(fd int, server netip.AddrPort) error {
	if err := unix.Sendto(fd, diagRequest(d.client, server), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return err
	}
	d.read(buf[:n])
	return nil
}

func diagRequest(client, server netip.AddrPort) []byte {
	msg := make([]byte, sizeofHeader+sizeofRequest)
	binary.NativeEndian.PutUint32(msg, uint32(len(msg)))
	binary.NativeEndian.PutUint16(msg[4:], byFamily)
	binary.NativeEndian.PutUint16(msg[6:], unix.NLM_F_REQUEST)
	req := msg[sizeofHeader:]
	req[0] = unix.AF_INET
	if client.Addr().Is6() {
		req[0] = unix.AF_INET6
	}
	req[1] = unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(req[4:], ^uint32(0)) // in any state
	binary.BigEndian.PutUint16(req[8:], client.Port())
	binary.BigEndian.PutUint16(req[10:], server.Port())
	copy(req[12:28], client.Addr().AsSlice())
	copy(req[28:44], server.Addr().AsSlice())
	binary.NativeEndian.PutUint64(req[48:], ^uint64(0)) // INET_DIAG_NOCOOKIE
	return msg
}

// read takes the answer: a struct inet_diag_msg, or an error, of which only
// ENOENT says that there is no such connection.
func (d *diagnosis) read(msg []byte) {
	if len(msg) < sizeofHeader+4 {
		return
	}
	switch binary.NativeEndian.Uint16(msg[4:]) {
	case unix.NLMSG_ERROR:
		d.asked = int32(binary.NativeEndian.Uint32(msg[sizeofHeader:])) == -int32(unix.ENOENT)
	case byFamily:
		if len(msg) < sizeofHeader+sizeofAnswer {
			return
		}
		body := msg[sizeofHeader:]
		d.uid = binary.NativeEndian.Uint32(body[64:])
		d.inode = uint64(binary.NativeEndian.Uint32(body[68:]))
		// A socket that its process has closed has no inode left.
		d.asked, d.found = true, d.inode != 0
	}
}

// readTables looks for the clients in /proc/net/tcp and tcp6 (proc_net(5)),
// and adds those it finds.
func readTables(sockets map[string]netip.AddrPort, clients []netip.AddrPort) error {
	wanted := make(map[netip.AddrPort]bool, len(clients))
	for _, c := range clients {
		wanted[c] = true
	}
	// A client may have reached 127.0.0.1 through an IPv6 socket, and then it
	// stands in the other table, as ::ffff:127.0.0.1. And a table is told page
	// by page: where connections end meanwhile, others move up and are passed
	// over. Hence a second look.
	const tcp, tcp6 = "/proc/net/tcp", "/proc/net/tcp6"
	for _, table := range []string{tcp, tcp6, tcp, tcp6} {
		data, err := os.ReadFile(table)
		if err != nil {
			return err
		}
		findInodes(data, wanted, sockets)
		if len(wanted) == 0 {
			return nil
		}
	}
	return nil
}

// findInodes reads a table of /proc/net: the second column is the local
// address, the fourth the state, the tenth the inode. It moves what it finds
// from wanted to sockets.
func findInodes(table []byte, wanted map[netip.AddrPort]bool, sockets map[string]netip.AddrPort) {
	const established = "01" // TCP_ESTABLISHED of <linux/tcp_states.h>
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != established {
			continue
		}
		addr, ok := parseAddr(f[1])
		if !ok || !wanted[addr] {
			continue
		}
		if inode, err := strconv.ParseUint(f[9], 10, 64); err == nil {
			sockets[socketLink(inode)] = addr
			delete(wanted, addr)
		}
	}
}

// parseAddr reads an address such as 0100007F:1F90. The kernel prints it as
// 32-bit words in the machine's order; the machines that Linux developers have
// are little-endian.
func parseAddr(s string) (netip.AddrPort, bool) {
	words, hexPort, ok := strings.Cut(s, ":")
	raw, err := hex.DecodeString(words)
	port, perr := strconv.ParseUint(hexPort, 16, 16)
	if !ok || err != nil || perr != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for word := range slices.Chunk(raw, 4) {
		slices.Reverse(word)
	}
	addr, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), ok
}
