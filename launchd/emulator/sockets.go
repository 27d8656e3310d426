package emulator

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/haltonlabs/halton-meter/internal/activation"
	"github.com/haltonlabs/halton-meter/launchd"
)

// socket is one that the supervisor holds for a job from bootstrap to bootout.
// A connection on it starts a job that has no process.
type socket struct {
	name     string // its key in Sockets
	spec     launchd.Socket
	network  string // of net.Listen
	address  string
	optional bool // the system may lack this family
	refused  error

	file    *os.File // nil while it could not be opened
	failure string   // why not
	watched bool     // somebody waits for a connection
	given   bool     // the job's process has it
}

// socketsOf is what a job wants to have opened.
func socketsOf(def *launchd.Job) []*socket {
	var list []*socket
	for _, name := range slices.Sorted(maps.Keys(def.Sockets)) {
		for _, spec := range def.Sockets[name].Values {
			s := socket{name: name, spec: spec}
			list = append(list, s.resolve()...)
		}
	}
	return list
}

// defaultPathMode is what bind(2) makes of launchd's umask.
const defaultPathMode = 0o777 &^ defaultUmask

var errUnsupported = errors.New("the emulator opens listening stream sockets on loopback addresses and at paths only")

// resolve is the socket, or several for a host name with several addresses.
func (s socket) resolve() []*socket {
	spec := s.spec
	refuse := func(err error) []*socket {
		s.refused = err
		return []*socket{&s}
	}
	stream := spec.SockType == "" || strings.EqualFold(spec.SockType, "stream")
	tcp := spec.SockProtocol == "" || strings.EqualFold(spec.SockProtocol, "TCP")
	passive := spec.SockPassive == nil || *spec.SockPassive
	switch {
	case !stream, !tcp, !passive, spec.SecureSocketWithKey != "", spec.MulticastGroup != "":
		return refuse(errUnsupported)
	case spec.SockPathName != "":
		if !filepath.IsAbs(spec.SockPathName) {
			return refuse(errors.New("its path is not absolute"))
		}
		s.network, s.address = "unix", spec.SockPathName
		return []*socket{&s}
	}
	port, err := portOf(spec.SockServiceName)
	if err != nil {
		return refuse(err)
	}
	hosts, ok := loopback(spec)
	if !ok {
		return refuse(errUnsupported)
	}
	var list []*socket
	for _, host := range hosts {
		one := s
		one.network, one.address = "tcp", net.JoinHostPort(host, port)
		one.optional = len(hosts) > 1 && strings.Contains(host, ":")
		list = append(list, &one)
	}
	return list
}

// loopback is where a socket is to be bound. Without a node launchd binds to
// all interfaces; what a test or a tool for developers wants is this one.
func loopback(spec launchd.Socket) (hosts []string, ok bool) {
	const v4, v6 = "127.0.0.1", "::1"
	if spec.SockNodeName != "" && !strings.EqualFold(spec.SockNodeName, "localhost") {
		ip := net.ParseIP(spec.SockNodeName)
		return []string{spec.SockNodeName}, ip != nil && ip.IsLoopback()
	}
	switch strings.ToLower(spec.SockFamily) {
	case "ipv4":
		return []string{v4}, true
	case "ipv6":
		return []string{v6}, true
	}
	return []string{v4, v6}, true
}

func portOf(service *launchd.IntOrString) (string, error) {
	if service == nil {
		return "", errors.New("it has no SockServiceName and no SockPathName")
	}
	if service.Str == nil {
		return strconv.Itoa(service.Int), nil
	}
	port, err := net.LookupPort("tcp", *service.Str) //nolint:noctx // services(5) is a file
	if err != nil {
		return "", fmt.Errorf("find its port: %w", err)
	}
	return strconv.Itoa(port), nil
}

func (s *socket) open() (err error) {
	if s.refused != nil {
		return s.refused
	}
	if s.network == "unix" {
		// launchd replaces what a crash has left, but not a file.
		if st, err := os.Lstat(s.address); err == nil && st.Mode()&fs.ModeSocket != 0 {
			_ = os.Remove(s.address)
		}
	}
	ln, err := net.Listen(s.network, s.address)
	if err != nil {
		return err
	}
	defer ln.Close()
	switch ln := ln.(type) {
	case *net.TCPListener:
		s.file, err = ln.File()
	case *net.UnixListener:
		ln.SetUnlinkOnClose(false)
		if err := s.setOwner(); err != nil {
			return errors.Join(err, os.Remove(s.address))
		}
		s.file, err = ln.File()
	}
	return err
}

// setOwner makes the path what its plist says about it.
func (s *socket) setOwner() error {
	mode, uid, gid := fs.FileMode(defaultPathMode), -1, -1
	if s.spec.SockPathMode != nil {
		mode = fs.FileMode(*s.spec.SockPathMode & int(fs.ModePerm))
	}
	if s.spec.SockPathOwner != nil {
		uid = *s.spec.SockPathOwner
	}
	if s.spec.SockPathGroup != nil {
		gid = *s.spec.SockPathGroup
	}
	if err := os.Chmod(s.address, mode); err != nil {
		return err
	}
	if uid == -1 && gid == -1 {
		return nil
	}
	return os.Lchown(s.address, uid, gid)
}

// port is that of the open socket: 0 in a plist lets the system choose.
func (s *socket) port() string {
	_, port, _ := net.SplitHostPort(s.address)
	if s.file == nil || port != "0" {
		return port
	}
	raw, err := s.file.SyscallConn()
	if err != nil {
		return port
	}
	_ = raw.Control(func(fd uintptr) {
		addr, err := unix.Getsockname(int(fd))
		if err != nil {
			return
		}
		switch a := addr.(type) {
		case *unix.SockaddrInet4:
			port = strconv.Itoa(a.Port)
		case *unix.SockaddrInet6:
			port = strconv.Itoa(a.Port)
		}
	})
	return port
}

func (s *socket) close() {
	if s.file == nil {
		return
	}
	s.file.Close()
	s.file = nil
	if s.network == "unix" {
		_ = os.Remove(s.address)
	}
}

// duplicate is for one who may still use it when close has been called.
func (s *socket) duplicate() (*os.File, error) {
	raw, err := s.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	copied := -1
	var failed error
	err = raw.Control(func(fd uintptr) { copied, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(copied), s.name), nil
}

// pending reports whether a connection waits in the queue.
func (s *socket) pending() bool {
	if s.file == nil {
		return false
	}
	raw, err := s.file.SyscallConn()
	waits := false
	if err == nil {
		err = raw.Control(func(fd uintptr) { waits = readable(fd) })
	}
	return err == nil && waits
}

func readable(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return err == nil && n > 0 && fds[0].Revents&unix.POLLIN != 0
		}
	}
}

// openSockets opens what could not be opened before. While a process runs it
// does not: an adopted one may hold the socket that its killed supervisor had.
func (r *registry) openSockets(j *job) {
	if j.life.PID != 0 {
		return
	}
	for _, s := range j.sockets {
		if s.file != nil {
			continue
		}
		err := s.open()
		switch {
		case err == nil:
			r.log.Info("launchd.socket.opened", "label", j.key.label, "socket", s.name, "address", s.address)
			s.failure = ""
		case s.optional || s.failure == err.Error():
		default:
			s.failure = err.Error()
			r.log.Error("launchd.socket.failed", "label", j.key.label, "socket", s.name, "address", s.address, "error", err)
		}
	}
	r.listen(j)
}

// listen waits for connections to a job that is at rest. One that runs accepts
// them itself, and one that is scheduled comes anyway.
func (r *registry) listen(j *job) {
	for _, s := range j.sockets {
		if s.file == nil || s.watched || j.life.State != idle || j.rules.spent(&j.life) {
			continue
		}
		raw, err := s.file.SyscallConn()
		if err != nil {
			continue
		}
		s.watched = true
		go func() {
			// Read calls this back when the socket becomes readable, and
			// ends when it is closed.
			err := raw.Read(readable)
			r.call(func() {
				s.watched = false
				// The process that was there meanwhile may have taken it.
				if err == nil && j.life.State == idle {
					r.knock(j)
				}
			})
		}()
	}
}

// knock starts a job that is at rest and has a connection waiting.
func (r *registry) knock(j *job) {
	for _, s := range j.sockets {
		if s.pending() {
			r.step(j, event{kind: demand, reason: "ipc (socket)"})
			return
		}
	}
	r.listen(j)
}

func (j *job) closeSockets() {
	for _, s := range j.sockets {
		s.close()
	}
}

// activate gives the process that asks its sockets of this name. It may do so
// once in its life.
func (r *registry) activate(pid int, name string) ([]*os.File, int) {
	for _, j := range r.jobs {
		if pid == 0 || j.life.PID != pid {
			continue
		}
		var files []*os.File
		code := activation.NoSuchSocket
		for _, s := range j.sockets {
			if s.name != name || s.file == nil {
				continue
			}
			if s.given {
				return nil, activation.AlreadyActive
			}
			f, err := s.duplicate()
			if err != nil {
				r.log.Error("launchd.socket.failed", "label", j.key.label, "socket", name, "error", err)
				continue
			}
			s.given, code = true, activation.OK
			files = append(files, f)
		}
		return files, code
	}
	return nil, activation.NotManaged
}

// handOver answers a process that wants its sockets.
func (r *registry) handOver(conn net.Conn, name string) error {
	unixConn, is := conn.(*net.UnixConn)
	if !is {
		return errors.New("not a Unix socket")
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return err
	}
	pid := 0
	var failed error
	err = raw.Control(func(fd uintptr) { pid, failed = peerPID(int(fd)) })
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("identify process: %w", err)
	}
	var files []*os.File
	code := activation.NotManaged
	answered := make(chan struct{})
	if !r.call(func() { files, code = r.activate(pid, name); close(answered) }) {
		return nil
	}
	<-answered
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	return activation.Answer(unixConn, code, files)
}
