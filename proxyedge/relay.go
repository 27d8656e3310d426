package proxyedge

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// tunnel is one client's connection, from its answer to its end.
type tunnel struct {
	edge  *Edge
	tally tally

	up, down atomic.Uint64
	half     atomic.Bool // one direction has ended
}

func (e *Edge) newTunnel(req *request) *tunnel {
	e.counts.open.Add(1)
	return &tunnel{edge: e, tally: req.tally}
}

func (t *tunnel) end() {
	t.edge.counts.open.Add(-1)
	t.tally.moved(t.up.Load(), t.down.Load())
}

func (t *tunnel) countUp(n int) {
	t.up.Add(uint64(n))
	t.edge.counts.up.Add(uint64(n))
}

func (t *tunnel) countDown(n int) {
	t.down.Add(uint64(n))
	t.edge.counts.down.Add(uint64(n))
}

// direct sends first to upstream and relays until both sides are done.
func (t *tunnel) direct(ctx context.Context, client, upstream net.Conn, first []byte) {
	stop := context.AfterFunc(ctx, func() { upstream.Close() })
	defer stop()
	if len(first) > 0 {
		if _, err := upstream.Write(first); err != nil {
			reset(client)
			reset(upstream)
			return
		}
	}
	from, to := newEnd(client), newEnd(upstream)
	var up sync.WaitGroup
	up.Go(func() { t.relayUp(from, to) })
	t.relayDown(from, to)
	up.Wait()
	client.Close()
	upstream.Close()
}

// relayUp and relayDown have names so that a goroutine dump can be read.

func (t *tunnel) relayUp(client, upstream *end) {
	t.relay(upstream, client, t.countUp)
}

func (t *tunnel) relayDown(client, upstream *end) {
	t.relay(client, upstream, t.countDown)
}

// relay copies until src ends, and passes the end on: a close as a close of
// one direction, everything else as a reset.
func (t *tunnel) relay(dst, src *end, count func(int)) {
	for {
		b, n, err := src.next(bufferSize)
		if errors.Is(err, io.EOF) {
			t.finish(dst, src)
			return
		}
		if err != nil {
			reset(src.conn)
			reset(dst.conn)
			return
		}
		if t.half.Load() {
			src.conn.SetReadDeadline(time.Now().Add(t.edge.LingerTimeout))
		}
		_, err = dst.conn.Write(b[:n])
		buffers.Put(b)
		if err != nil {
			reset(src.conn)
			reset(dst.conn)
			return
		}
		count(n)
	}
}

// finish passes the end of src on. The other direction may be a model that
// thinks for long, so that only a very long silence ends it; keep-alives,
// which net turns on, end it when the peer is gone.
func (t *tunnel) finish(dst, src *end) {
	if closeWrite(dst.conn) != nil {
		// Gone already, or a kind of connection that cannot half-close.
		dst.conn.Close()
		src.conn.Close()
		return
	}
	if !t.half.Swap(true) {
		dst.conn.SetReadDeadline(time.Now().Add(t.edge.LingerTimeout))
	}
}

func closeWrite(conn net.Conn) error {
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// reset closes conn so that its peer sees a reset, and takes what it got for
// what it is: cut short.
func reset(conn net.Conn) {
	if c, ok := conn.(interface{ SetLinger(int) error }); ok {
		c.SetLinger(0)
	}
	conn.Close()
}

const bufferSize = 64 << 10

type buffer = [bufferSize]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// end is a connection to read from lazily: while it is silent it owns no
// buffer. An idle tunnel that waits inside an io.Copy holds two buffers, or,
// where Go splices, two pipes of two descriptors and up to 1 MiB each.
type end struct {
	conn net.Conn
	raw  syscall.RawConn // nil: not a socket, read with a buffer in hand

	read  func(fd uintptr) bool // made once, so that a read allocates nothing
	limit int
	buf   *buffer
	n     int
	err   error
}

func newEnd(conn net.Conn) *end {
	r := &end{conn: conn}
	if tcp, ok := conn.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			r.raw, r.read = raw, r.readNow
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
	r.limit = limit
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
		n, err := syscall.Read(int(fd), b[:r.limit])
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			buffers.Put(b)
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
