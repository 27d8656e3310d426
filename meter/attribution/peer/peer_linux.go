package peer

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// find looks the connection's inode up in /proc/net/tcp (proc_net(5)), and
// then among the descriptors of this user's processes.
func find(client netip.AddrPort) (Process, error) {
	inode, err := inodeOf(client)
	if err != nil {
		return Process{}, err
	}
	pids, err := processes()
	if err != nil {
		return Process{}, err
	}
	want := "socket:[" + inode + "]"
	for _, pid := range pids {
		if own(pid) && holds(pid, want) {
			return describe(pid), nil
		}
	}
	return Process{}, ErrUnknown
}

// inodeOf is the inode of the socket whose local end is client.
func inodeOf(client netip.AddrPort) (string, error) {
	// A client may have reached 127.0.0.1 through an IPv6 socket, and then it
	// stands in the other table, as ::ffff:127.0.0.1.
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, err := os.ReadFile(table)
		if err != nil {
			return "", err
		}
		if inode, ok := findInode(data, client); ok {
			return inode, nil
		}
	}
	return "", ErrUnknown
}

// findInode reads a table of /proc/net: the second column is the local
// address, the fourth the state, the tenth the inode.
func findInode(table []byte, client netip.AddrPort) (string, bool) {
	const established = "01" // TCP_ESTABLISHED of <linux/tcp_states.h>
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != established {
			continue
		}
		if addr, ok := parseAddr(f[1]); ok && addr == client {
			return f[9], true
		}
	}
	return "", false
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

// processes are the numbers of all processes, the youngest first where the
// numbers have not begun again: who has just connected is likely young.
func processes() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	slices.Reverse(pids)
	return pids, nil
}

// own reports whether the process is this user's.
func own(pid int) bool {
	var st unix.Stat_t
	return unix.Stat("/proc/"+strconv.Itoa(pid), &st) == nil && int(st.Uid) == os.Geteuid()
}

// holds reports whether the process has a descriptor of the socket.
func holds(pid int, socket string) bool {
	dir, err := os.Open("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		return false
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return false
	}
	target := make([]byte, 64) // "socket:[" and a number are far shorter
	for _, name := range names {
		n, err := unix.Readlinkat(int(dir.Fd()), name, target)
		if err == nil && string(target[:n]) == socket {
			return true
		}
	}
	return false
}

func describe(pid int) Process {
	p := Process{PID: pid}
	// Either may fail when the process ends just now; then it is not known.
	if dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err == nil {
		p.Dir = strings.TrimSuffix(dir, " (deleted)")
	}
	if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err == nil {
		p.Project = lookup(env, projectVariable)
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return p
	}
	var args []string
	if cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil {
		args = strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	}
	p.Program = program(strings.TrimSuffix(exe, " (deleted)"), args)
	return p
}
