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

	read   func(fd uintptr) bool // made once, so that a read allocates nothing
	limit  int
	waited bool // there was nothing to read at first
	buf    *buffer
	n      int
	err    error

	put   func(fd uintptr) bool
	out   []byte
	taken int
}

func newEnd(conn net.Conn) *end {
	r := &end{conn: conn}
	if tcp, ok := conn.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			r.raw, r.read, r.put = raw, r.readNow, r.writeNow
		}
	}
	return r
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
	r.limit, r.waited = limit, false
	if err := r.raw.Read(r.read); err != nil {
		return nil, 0, err
	}
	b := r.buf
	r.buf = nil
	return b, r.n, r.err
}

// readNow is called when the socket may be readable, and says whether it was.
func (r *end) readNow(fd uintptr) bool {
	b := buffers.Get().(*buffer)
	for {
		n, err := readSocket(fd, b[:r.limit])
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			buffers.Put(b)
			r.waited = true
			return false
		case err != nil:
			buffers.Put(b)
			r.buf, r.n, r.err = nil, 0, os.NewSyscallError("read", err)
		case n == 0:
			buffers.Put(b)
			r.buf, r.n, r.err = nil, 0, io.EOF
		default:
			r.buf, r.n, r.err = b, n, nil
		}
		return true
	}
}

// write writes b, which is prompt if its writer has just waited for it. Then
// the scheduler need not hear of it, see writeSocket; but somebody who never
// waits must be seen by it.
func (r *end) write(b []byte, prompt bool) (n int, err error) {
	if prompt && r.raw != nil {
		r.out, r.taken = b, 0
		r.raw.Write(r.put)
		r.out = nil
		if r.taken == len(b) {
			return len(b), nil
		}
		n = r.taken
	}
	m, err := r.conn.Write(b[n:])
	return n + m, err
}

// writeNow writes what the socket takes at once. What is wrong with it, the
// next write finds out.
func (r *end) writeNow(fd uintptr) bool {
	if n, err := writeSocket(fd, r.out); err == nil {
		r.taken = n
	}
	return true
}
