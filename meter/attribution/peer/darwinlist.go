package peer

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
)

// The kinds of record in net.inet.tcp.pcblist_n, XSO_* of XNU's
// bsd/sys/socketvar.h.
const (
	kindSocket = 0x001 // struct xsocket_n
	kindINPCB  = 0x010 // struct xinpcb_n
)

// owners reads net.inet.tcp.pcblist_n: a header, and for each connection a run
// of records, each with its length and kind in front and padded to 8 bytes.
// Of them, struct xinpcb_n has the addresses and struct xsocket_n the process
// that used the socket last. It returns the processes of the connections
// whose own end is client. The lengths differ between releases of macOS; the
// places of these fields have not changed since the format came with 10.8.
func owners(list []byte, client netip.AddrPort) []int {
	var pids []int
	ours := false
	for _, rec := range records(list) {
		switch {
		case kindOf(rec) == kindINPCB:
			ours = localEnd(rec) == client
		case kindOf(rec) == kindSocket && ours:
			if pid := lastPID(rec); pid > 0 && !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// records splits the list; what does not fit ends it.
func records(list []byte) [][]byte {
	if len(list) < 4 {
		return nil
	}
	// struct xinpgen: its length is its first field.
	rest := list[min(round8(int(binary.NativeEndian.Uint32(list))), len(list)):]
	var out [][]byte
	for len(rest) >= 8 {
		n := int(binary.NativeEndian.Uint32(rest))
		if n < 8 || n > len(rest) {
			break
		}
		out = append(out, rest[:n])
		rest = rest[min(round8(n), len(rest)):]
	}
	return out
}

func round8(n int) int { return (n + 7) &^ 7 }

func kindOf(rec []byte) uint32 { return binary.NativeEndian.Uint32(rec[4:]) }

// localEnd is the local address of a struct xinpcb_n: the port at 18, in
// network order, the family's flag at 44, and 16 bytes of address at 64, of
// which IPv4 has the last four.
func localEnd(rec []byte) netip.AddrPort {
	const ipv4, ipv6 = 0x1, 0x2
	if len(rec) < 80 {
		return netip.AddrPort{}
	}
	port := binary.BigEndian.Uint16(rec[18:])
	var addr netip.Addr
	switch rec[44] & (ipv4 | ipv6) {
	case ipv4:
		addr = netip.AddrFrom4([4]byte(rec[76:80]))
	case ipv6:
		addr = netip.AddrFrom16([16]byte(rec[64:80])).Unmap()
	}
	return netip.AddrPortFrom(addr, port)
}

// lastPID is so_last_pid of a struct xsocket_n.
func lastPID(rec []byte) int {
	const at = 68
	if len(rec) < at+4 {
		return 0
	}
	return int(int32(binary.NativeEndian.Uint32(rec[at:])))
}

// splitProcArgs reads kern.procargs2: the number of arguments, the program's
// path, padding, the arguments, and then the environment.
func splitProcArgs(data []byte) (executable string, argv []string, environ []byte) {
	if len(data) < 4 {
		return "", nil, nil
	}
	argc := int(int32(binary.NativeEndian.Uint32(data)))
	path, rest, ok := bytes.Cut(data[4:], []byte{0})
	if !ok || argc < 0 {
		return "", nil, nil
	}
	rest = bytes.TrimLeft(rest, "\x00")
	for range argc {
		var arg []byte
		if arg, rest, ok = bytes.Cut(rest, []byte{0}); !ok {
			return string(path), argv, nil
		}
		argv = append(argv, string(arg))
	}
	return string(path), argv, rest
}
