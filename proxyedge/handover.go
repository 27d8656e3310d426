package proxyedge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// handoverEnv tells a program that it continues another: the process, whose
// number it kept, and the descriptors with the record. A process that merely
// has this variable from its parent has another number.
const handoverEnv = "PROXYEDGE_HANDOVER"

// HandoverVersion is the form of what [Edge.Upgrade] leaves. A program takes
// over only from one with the same; before an upgrade, ask the new program.
const HandoverVersion = 1

// maxHandover bounds what is read: far more than the record of a process with
// all descriptors that a system allows.
const maxHandover = 512 << 20

// record is what Upgrade leaves and Inherited reads: in JSON, followed by the
// bytes of all parcels, in their order.
type record struct {
	Version int       `json:"version"`
	Status  Status    `json:"status"`
	Chain   bool      `json:"off_chain,omitempty"`
	Parcels []*parcel `json:"parcels"`
}

// The kinds of parcels.
const (
	kindListener = "listener"
	kindClient   = "client" // a client whose request is not answered yet
	kindTunnel   = "tunnel" // a tunnel that relays
	kindChain    = "chain"  // a tunnel to the daemon before its commit point
	kindLost     = "lost"   // a tunnel that the daemon has failed, on its way to the direct path
)

// parcel is what one guest leaves: descriptors, and where it stood.
type parcel struct {
	Kind string `json:"kind"`
	// FDs are the listener's, or the client's and the far end's.
	FDs []int `json:"fds"`
	// Bytes are the lengths of what was read and not yet written: by the
	// client, and by the far end.
	Bytes [2]int `json:"bytes"`

	Host    string `json:"host,omitempty"`
	Port    int    `json:"port,omitempty"`
	Metered bool   `json:"metered,omitempty"`
	Up      uint64 `json:"up,omitempty"`
	Down    uint64 `json:"down,omitempty"`
	// Ended are the directions whose end has been passed on: up, down.
	Ended [2]bool `json:"ended"`

	Daemon Daemon `json:"daemon,omitzero"`
	Sent   int    `json:"sent,omitempty"` // of the first bytes, to the daemon
	Reason string `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"`

	up, down []byte
	conns    []handle
}

// handle is a connection or a listener with a descriptor.
type handle interface{ syscall.Conn }

// encode collects the descriptors and writes the record.
func (r *record) encode() ([]byte, error) {
	var blobs bytes.Buffer
	for _, p := range r.Parcels {
		p.FDs = nil
		for _, conn := range p.conns {
			if err := control(conn, func(fd int) error { p.FDs = append(p.FDs, fd); return nil }); err != nil {
				return nil, err
			}
		}
		p.Bytes = [2]int{len(p.up), len(p.down)}
		blobs.Write(p.up)
		blobs.Write(p.down)
	}
	head, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return append(append(head, '\n'), blobs.Bytes()...), nil
}

// decodeRecord is strict: a record that is not exactly one of ours may mean
// something else by its numbers.
func decodeRecord(data []byte) (*record, error) {
	head, blobs, ok := bytes.Cut(data, []byte("\n"))
	if !ok {
		return nil, errors.New("it is cut")
	}
	var version struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(head, &version); err != nil {
		return nil, err
	}
	if version.Version != HandoverVersion {
		return nil, fmt.Errorf("it has version %d, not %d", version.Version, HandoverVersion)
	}
	dec := json.NewDecoder(bytes.NewReader(head))
	dec.DisallowUnknownFields()
	r := &record{}
	if err := dec.Decode(r); err != nil {
		return nil, err
	}
	seen := map[int]bool{}
	for _, p := range r.Parcels {
		if err := p.check(seen); err != nil {
			return nil, err
		}
		for i, field := range []*[]byte{&p.up, &p.down} {
			n := p.Bytes[i]
			if n < 0 || n > len(blobs) {
				return nil, errors.New("bytes are missing")
			}
			*field, blobs = blobs[:n:n], blobs[n:]
		}
		if p.Sent < 0 || p.Sent > len(p.up) {
			return nil, errors.New("more was sent than kept")
		}
	}
	if len(blobs) > 0 {
		return nil, errors.New("bytes are left over")
	}
	return r, nil
}

// check refuses what no edge writes.
func (p *parcel) check(seen map[int]bool) error {
	if p == nil {
		return errors.New("a parcel is missing")
	}
	want, known := map[string]int{kindListener: 1, kindClient: 1, kindLost: 1, kindTunnel: 2, kindChain: 2}[p.Kind]
	if !known || len(p.FDs) != want {
		return fmt.Errorf("a %q with %d descriptors", p.Kind, len(p.FDs))
	}
	for _, fd := range p.FDs {
		if fd <= 2 || seen[fd] {
			return fmt.Errorf("descriptor %d stands twice or is none of ours", fd)
		}
		seen[fd] = true
	}
	return nil
}

// control calls f with the descriptor of conn.
func control(conn syscall.Conn, f func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = f(int(fd)) })
	return errors.Join(err, failed)
}

// inheritable sets or clears the close-on-exec flag.
func inheritable(conn syscall.Conn, yes bool) error {
	flag := unix.FD_CLOEXEC
	if yes {
		flag = 0
	}
	return control(conn, func(fd int) error {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, flag)
		return err
	})
}

// stow puts data into as many pipes as it takes: they need no file system and
// no other process, nothing of a user's bytes touches a disk, and they are
// there after an exec. A pipe takes what its buffer holds (pipe(7)).
func stow(data []byte) (pipes []*os.File, err error) {
	defer func() {
		if err != nil {
			closeFiles(pipes)
		}
	}()
	for len(data) > 0 {
		r, w, err := os.Pipe()
		if err != nil {
			return pipes, err
		}
		pipes = append(pipes, r)
		n, err := fillPipe(w, data)
		w.Close()
		if err != nil {
			return pipes, err
		}
		data = data[n:]
	}
	return pipes, nil
}

// fillPipe writes as much as fits.
func fillPipe(w *os.File, data []byte) (n int, err error) {
	for n < len(data) {
		var wrote int
		var failed error
		err := control(w, func(fd int) error {
			if failed = unix.SetNonblock(fd, true); failed == nil {
				wrote, failed = unix.Write(fd, data[n:])
			}
			return nil
		})
		switch {
		case err != nil:
			return n, err
		case errors.Is(failed, unix.EINTR):
		case errors.Is(failed, unix.EAGAIN) && n > 0:
			return n, nil
		case failed != nil:
			return n, os.NewSyscallError("write", failed)
		default:
			n += wrote
		}
	}
	return n, nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Inheritance is what the program before this one in the same process has
// left for it, see [Inherited].
type Inheritance struct {
	// Listeners are those that it served. They never ceased to listen.
	Listeners []net.Listener

	complete bool
	status   Status
	chain    bool
	parcels  []*parcel // with connections of this program
}

// Inherited takes what [Edge.Upgrade] has left for this program, once. There
// is nothing for a program that was started in another way: nil, nil.
//
// An error means that the record could not be read. Then the Inheritance,
// which may still be nil, holds the listeners that were found open, and what
// else came along is closed. Close-on-exec is set again for everything.
func Inherited() (*Inheritance, error) {
	value, ok := os.LookupEnv(handoverEnv)
	if !ok {
		return nil, nil
	}
	// No child may take it for its own.
	os.Unsetenv(handoverEnv)
	pid, list, _ := strings.Cut(value, ":")
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	in, err := inherit(list)
	if err != nil {
		in, rest := salvage()
		return in, errors.Join(fmt.Errorf("read handover: %w", err), rest)
	}
	return in, nil
}

func inherit(list string) (*Inheritance, error) {
	data, err := unstow(list)
	if err != nil {
		return nil, err
	}
	r, err := decodeRecord(data)
	if err != nil {
		return nil, err
	}
	// First all, then make anything of them.
	for _, p := range r.Parcels {
		for _, fd := range p.FDs {
			if err := isSocket(fd, p.Kind == kindListener); err != nil {
				return nil, err
			}
		}
	}
	in := &Inheritance{complete: true, status: r.Status, chain: r.Chain}
	for _, p := range r.Parcels {
		in.adopt(p)
	}
	return in, nil
}

// adopt makes connections of descriptors. One that fails is lost alone.
func (in *Inheritance) adopt(p *parcel) {
	var conns []net.Conn
	for _, fd := range p.FDs {
		f := os.NewFile(uintptr(fd), p.Kind)
		unix.CloseOnExec(fd)
		if p.Kind == kindListener {
			if ln, err := net.FileListener(f); err == nil {
				in.Listeners = append(in.Listeners, ln)
			}
		} else if conn, err := net.FileConn(f); err == nil {
			conns = append(conns, conn)
		}
		f.Close()
	}
	if p.Kind == kindListener {
		return
	}
	for _, conn := range conns {
		tcp, ok := conn.(*net.TCPConn)
		if !ok || len(conns) < len(p.FDs) {
			conn.Close()
			continue
		}
		p.conns = append(p.conns, tcp)
	}
	if len(p.conns) == len(p.FDs) {
		in.parcels = append(in.parcels, p)
	}
}

// Complete reports whether the record could be read, so that [Edge.Resume]
// continues tunnels and counters too.
func (in *Inheritance) Complete() bool { return in != nil && in.complete }

// Close gives up what is inherited, if there is anything.
func (in *Inheritance) Close() {
	if in == nil {
		return
	}
	for _, ln := range in.Listeners {
		ln.Close()
	}
	for _, p := range in.parcels {
		for _, conn := range p.conns {
			conn.(net.Conn).Close()
		}
	}
	in.Listeners, in.parcels = nil, nil
}

// unstow reads the pipes whose descriptors are listed.
func unstow(list string) ([]byte, error) {
	var fds []int
	for text := range strings.SplitSeq(list, ",") {
		fd, err := strconv.Atoi(text)
		if err != nil || fd <= 2 {
			return nil, fmt.Errorf("no descriptor: %q", text)
		}
		fds = append(fds, fd)
	}
	var data []byte
	for _, fd := range fds {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
			return nil, fmt.Errorf("descriptor %d is no pipe", fd)
		}
		f := os.NewFile(uintptr(fd), "handover")
		part, err := io.ReadAll(io.LimitReader(f, maxHandover-int64(len(data))))
		f.Close()
		if err != nil {
			return nil, err
		}
		data = append(data, part...)
	}
	return data, nil
}

// isSocket is nil if fd is a socket, and listens or does not.
func isSocket(fd int, listening bool) error {
	accepts, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return fmt.Errorf("descriptor %d: %w", fd, err)
	}
	if (accepts != 0) != listening {
		return fmt.Errorf("descriptor %d is a socket of another kind", fd)
	}
	return nil
}

// salvage looks for listeners among what came through the exec, which is what
// has no close-on-exec flag in a program that has just begun, and closes the
// rest: clients whose place in a conversation nobody knows must not wait.
func salvage() (*Inheritance, error) {
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return nil, err
	}
	in := &Inheritance{}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= 2 {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			continue
		}
		if isSocket(fd, true) == nil {
			in.adopt(&parcel{Kind: kindListener, FDs: []int{fd}})
		} else {
			unix.Close(fd)
		}
	}
	if len(in.Listeners) == 0 {
		return nil, nil
	}
	return in, nil
}
