package proxyedge

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

const bufferSize = 64 << 10

type buffer = [bufferSize]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// end is a connection to read from lazily: while it is silent it owns no
// buffer. An idle tunnel that waits inside an io.Copy holds two buffers, or,
// where Go splices, two pipes of two descriptors and up to 1 MiB each.
type end struct {
	conn net.Conn
	raw  syscall.RawConn // nil: not a socket, read with a buffer in hand

	// Of whoever reads and of whoever writes; nil until then.
	in  *receiving
	out *sending
}

func newEnd(conn net.Conn) *end {
	r := &end{conn: conn}
	if tcp, ok := conn.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			r.raw = raw
		}
	}
	return r
}

// rest gives up what is only needed for reading and writing.
func (r *end) rest() { r.in, r.out = nil, nil }

// receiving is made once, so that a read allocates nothing.
type receiving struct {
	now    func(fd uintptr) bool
	limit  int
	waited bool // there was nothing to read at first
	buf    *buffer
	n      int
	err    error
}

// next waits for bytes and returns them in a buffer that the caller puts back
// into buffers.
func (r *end) next(limit int) (*buffer, int, error) {
	limit = min(limit, bufferSize)
	if r.raw == nil {
		b := buffers.Get().(*buffer)
		n, err := r.conn.Read(b[:limit])
		if n > 0 {
			return b, n, nil // a lasting error comes back at the next read
		}
		buffers.Put(b)
		if err == nil {
			err = io.ErrNoProgress
		}
		return nil, 0, err
	}
	if r.in == nil {
		r.in = &receiving{}
		r.in.now = r.in.read
	}
	in := r.in
	in.limit, in.waited = limit, false
	if err := r.raw.Read(in.now); err != nil {
		return nil, 0, err
	}
	b := in.buf
	in.buf = nil
	return b, in.n, in.err
}

// waited reports whether next had to wait.
func (r *end) waited() bool { return r.in != nil && r.in.waited }

// read is called when the socket may be readable, and says whether it was.
func (in *receiving) read(fd uintptr) bool {
	b := buffers.Get().(*buffer)
	for {
		n, err := readSocket(fd, b[:in.limit])
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			buffers.Put(b)
			in.waited = true
			return false
		case err != nil:
			buffers.Put(b)
			in.buf, in.n, in.err = nil, 0, os.NewSyscallError("read", err)
		case n == 0:
			buffers.Put(b)
			in.buf, in.n, in.err = nil, 0, io.EOF
		default:
			in.buf, in.n, in.err = b, n, nil
		}
		return true
	}
}

// sending is made once, so that a write allocates nothing.
type sending struct {
	now   func(fd uintptr) bool
	b     []byte
	taken int
}

// write writes b, which is prompt if its writer has just waited for it. Then
// the scheduler need not hear of it, see writeSocket; but somebody who never
// waits must be seen by it.
func (r *end) write(b []byte, prompt bool) (n int, err error) {
	if prompt && r.raw != nil {
		if n = r.writeNow(b); n == len(b) {
			return n, nil
		}
	}
	m, err := r.conn.Write(b[n:])
	return n + m, err
}

// writeNow writes what the socket takes at once. What is wrong with it, the
// next write finds out.
func (r *end) writeNow(b []byte) int {
	if r.out == nil {
		r.out = &sending{}
		r.out.now = r.out.write
	}
	out := r.out
	out.b, out.taken = b, 0
	_ = r.raw.Write(out.now)
	out.b = nil
	return out.taken
}

func (out *sending) write(fd uintptr) bool {
	if n, err := writeSocket(fd, out.b); err == nil {
		out.taken = n
	}
	return true
}
