package peer

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxRecent is how many processes are asked before all others: more programs
// than that do not talk to providers at the same time.
const maxRecent = 32

// finder is what a Finder remembers.
type finder struct {
	// recent are the processes found before, the latest first.
	recent []int
	// exact means that the Server is right: a connection was found by it, and
	// what is not found by it is not there.
	exact bool
}

// find learns the sockets' inodes, and looks for them among the descriptors of
// this user's processes: first of those that had one before, then of all.
func (f *finder) find(server netip.AddrPort, clients []netip.AddrPort) (map[netip.AddrPort]Process, error) {
	sockets, err := f.sockets(server, clients)
	if err != nil || len(sockets) == 0 {
		return nil, err
	}
	found := make(map[netip.AddrPort]Process, len(sockets))
	ask := func(pids []int) {
		for _, pid := range pids {
			if len(sockets) == 0 {
				return
			}
			if !own(pid) {
				continue
			}
			held := holds(pid, sockets)
			if len(held) == 0 {
				continue
			}
			f.remember(pid)
			p := describe(pid)
			for _, socket := range held {
				found[sockets[socket]] = p
				delete(sockets, socket)
			}
		}
	}
	ask(slices.Clone(f.recent))
	if len(sockets) == 0 {
		return found, nil
	}
	pids, err := processes()
	ask(pids)
	return found, err
}

func (f *finder) remember(pid int) {
	f.recent = slices.DeleteFunc(f.recent, func(p int) bool { return p == pid })
	f.recent = slices.Insert(f.recent, 0, pid)
	f.recent = f.recent[:min(len(f.recent), maxRecent)]
}

// sockets returns the clients by what a descriptor of their socket links to.
func (f *finder) sockets(server netip.AddrPort, clients []netip.AddrPort) (map[string]netip.AddrPort, error) {
	sockets := make(map[string]netip.AddrPort, len(clients))
	var rest []netip.AddrPort
	for _, r := range diagnose(server, clients) {
		switch {
		case r.found:
			f.exact = true
			if r.uid == uint32(os.Geteuid()) {
				sockets[socketLink(r.inode)] = r.client
			}
		case !f.exact || !r.asked:
			rest = append(rest, r.client)
		}
	}
	if len(rest) == 0 {
		return sockets, nil
	}
	return sockets, readTables(sockets, rest)
}

func socketLink(inode uint64) string { return "socket:[" + strconv.FormatUint(inode, 10) + "]" }

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

// holds returns those of the sockets of which the process has a descriptor.
func holds(pid int, sockets map[string]netip.AddrPort) (held []string) {
	dir, err := os.Open("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	target := make([]byte, 64) // "socket:[" and a number are far shorter
	for _, name := range names {
		n, err := unix.Readlinkat(int(dir.Fd()), name, target)
		if err != nil {
			continue
		}
		if _, wanted := sockets[string(target[:n])]; wanted && !slices.Contains(held, string(target[:n])) {
			held = append(held, string(target[:n]))
		}
	}
	return held
}

// describe reads what the process is. Any part may fail when it ends just
// now; then that is not known.
func describe(pid int) Process {
	p := Process{PID: pid}
	if dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err == nil {
		p.Dir = strings.TrimSuffix(dir, " (deleted)")
	}
	if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err == nil {
		p.Project, p.Label = lookup(env, projectVariable), label(env)
	}
	args := arguments(pid)
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil {
		p.Program = program(strings.TrimSuffix(exe, " (deleted)"), args)
	}
	p.Workspace = workspace(args)
	for range maxAncestors {
		if pid = parent(pid); p.Workspace != "" || pid <= 1 || !own(pid) {
			break
		}
		p.Workspace = workspace(arguments(pid))
	}
	return p
}

func arguments(pid int) []string {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
}

// parent reads the fourth field of /proc/PID/stat (proc_pid_stat(5)). The
// second, the command's name, is in parentheses and may hold any character.
func parent(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	ppid, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return 0
	}
	return ppid
}
