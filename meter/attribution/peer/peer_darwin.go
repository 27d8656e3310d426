package peer

import (
	"bytes"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// finder remembers nothing: the kernel's list names the processes.
type finder struct{}

// find reads the kernel's list of TCP connections, which names the process
// that used each last, and asks that process's directory and environment.
// Neither needs cgo, nor rights beyond the user's own.
func (*finder) find(_ netip.AddrPort, clients []netip.AddrPort) (map[netip.AddrPort]Process, error) {
	list, err := unix.SysctlRaw("net.inet.tcp.pcblist_n")
	if err != nil {
		return nil, err
	}
	found := make(map[netip.AddrPort]Process, len(clients))
	known := map[int]Process{}
	for _, client := range clients {
		for _, pid := range owners(list, client) {
			if _, ok := own(pid); !ok || pid == os.Getpid() {
				continue
			}
			p, ok := known[pid]
			if !ok {
				p = describe(pid)
				known[pid] = p
			}
			found[client] = p
			break
		}
	}
	return found, nil
}

// own returns the process's parent if the process is this user's.
func own(pid int) (parent int, ok bool) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil || int(info.Eproc.Ucred.Uid) != os.Geteuid() {
		return 0, false
	}
	return int(info.Eproc.Ppid), true
}

func describe(pid int) Process {
	p := Process{PID: pid, Dir: workingDirectory(pid)}
	if args, err := unix.SysctlRaw("kern.procargs2", pid); err == nil {
		executable, argv, environ := splitProcArgs(args)
		p.Project, p.Label = lookup(environ, projectVariable), label(environ)
		p.Program, p.Workspace = program(executable, argv), workspace(argv)
	}
	for range maxAncestors {
		parent, ok := own(pid)
		if p.Workspace != "" || !ok || parent <= 1 {
			break
		}
		pid = parent
		if args, err := unix.SysctlRaw("kern.procargs2", pid); err == nil {
			_, argv, _ := splitProcArgs(args)
			p.Workspace = workspace(argv)
		}
	}
	return p
}

// workingDirectory asks proc_info(2), which libproc's proc_pidinfo calls, for
// struct proc_vnodepathinfo of <sys/proc_info.h>: two of struct
// vnode_info_path, each 152 bytes of struct vnode_info and a path of
// MAXPATHLEN; the first is that of the working directory.
func workingDirectory(pid int) string {
	const (
		callPIDInfo       = 2
		flavorVnodePaths  = 9
		vnodeInfo         = 152
		vnodeInfoWithPath = vnodeInfo + 1024
	)
	var buf [2 * vnodeInfoWithPath]byte
	n, _, errno := unix.Syscall6(unix.SYS_PROC_INFO, callPIDInfo, uintptr(pid), flavorVnodePaths, 0,
		uintptr(unsafe.Pointer(&buf[0])), unsafe.Sizeof(buf))
	if errno != 0 || n < vnodeInfoWithPath {
		return ""
	}
	path, _, _ := bytes.Cut(buf[vnodeInfo:vnodeInfoWithPath], []byte{0})
	return string(path)
}
