package peer

import (
	"bytes"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// find reads the kernel's list of TCP connections, which names the process
// that used each last, and asks that process's directory and environment.
// Neither needs cgo, nor rights beyond the user's own.
func find(client netip.AddrPort) (Process, error) {
	list, err := unix.SysctlRaw("net.inet.tcp.pcblist_n")
	if err != nil {
		return Process{}, err
	}
	for _, pid := range owners(list, client) {
		info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
		if err != nil || pid == os.Getpid() || int(info.Eproc.Ucred.Uid) != os.Geteuid() {
			continue
		}
		p := Process{PID: pid, Dir: workingDirectory(pid)}
		if args, err := unix.SysctlRaw("kern.procargs2", pid); err == nil {
			executable, argv, environ := splitProcArgs(args)
			p.Project, p.Program = lookup(environ, projectVariable), program(executable, argv)
		}
		return p, nil
	}
	return Process{}, ErrUnknown
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
