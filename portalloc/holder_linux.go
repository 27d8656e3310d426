package portalloc

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// tcpListen is TCP_LISTEN of <linux/tcp_states.h>, as /proc/net/tcp spells it.
const tcpListen = "0A"

// findHolders looks the sockets' inodes up in /proc/net/tcp (proc_net(5)) and
// then among the descriptors of all processes that this user may inspect. That
// is slow where there are many, so the likely one comes first.
func findHolders(ctx context.Context, ports []int, likely int) map[int]Holder {
	found := map[int]Holder{}
	byInode := map[string]int{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue
		}
		listeners := parseListeners(f)
		f.Close()
		for _, l := range listeners {
			if slices.Contains(ports, l.port) {
				byInode["socket:["+l.inode+"]"] = l.port
				found[l.port] = Holder{User: l.uid}
			}
		}
	}
	if len(byInode) == 0 {
		return found
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*/fd")
	dirs = append([]string{fmt.Sprintf("/proc/%d/fd", likely)}, dirs...)
	for _, dir := range dirs {
		if ctx.Err() != nil || len(byInode) == 0 {
			break
		}
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			target, err := os.Readlink(filepath.Join(dir, fd.Name()))
			port, ok := byInode[target]
			if err != nil || !ok {
				continue
			}
			// Several may hold one socket; any of them is an answer.
			delete(byInode, target)
			if h := found[port]; h.PID == 0 {
				h.PID, h.Command = processOf(dir)
				found[port] = h
			}
		}
	}
	return found
}

func processOf(fdDir string) (pid int, command string) {
	pid, _ = strconv.Atoi(filepath.Base(filepath.Dir(fdDir)))
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return pid, printable(string(bytes.TrimSpace(comm)))
}

type listener struct {
	port       int
	uid, inode string
}

// parseListeners reads a table of /proc/net: the second column is the local
// address in hexadecimal, then remote address, state, queues, timer,
// retransmits, uid, timeout and inode. Listeners come first
// (Documentation/networking/proc_net_tcp.rst), and of connections there may be
// so many that the kernel needs long to list them.
func parseListeners(table io.Reader) []listener {
	var all []listener
	lines := bufio.NewScanner(table)
	lines.Scan() // the names of the columns
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 {
			continue
		}
		if f[3] != tcpListen {
			break
		}
		addr, hexPort, _ := strings.Cut(f[1], ":")
		port, err := strconv.ParseUint(hexPort, 16, 16)
		if err == nil && local(addr) {
			all = append(all, listener{port: int(port), uid: f[7], inode: f[9]})
		}
	}
	return all
}

// local reports whether a socket on addr can be in the way of one on loopback.
// The kernel prints addresses as 32-bit words in the machine's order; the
// machines that Linux developers have are little-endian.
func local(addr string) bool {
	const ip6Loopback = "00000000000000000000000001000000"
	return strings.Trim(addr, "0") == "" || addr == ip6Loopback || strings.HasSuffix(addr, "7F")
}
