package proxyedge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// tunnel is one client's connection, from its answer to its end.
type tunnel struct {
	edge  *Edge
	guest *guest
	tally tally

	client, far      *end
	upward, downward flow

	up, down atomic.Uint64
	half     atomic.Bool // one direction has ended
	broken   atomic.Bool // both connections were reset or closed

	writing atomic.Int32 // directions that write

	// Under the sleepers' mutex.
	seen   uint64 // up and down when it was looked at
	onward errand // how it goes on, while asleep; nil: it is awake
	fds    [2]int // while asleep
}

// flow is one direction of a tunnel. It is its goroutine's while that runs.
type flow struct {
	pending []byte // read and counted, and not yet written
	ended   bool   // its end has been passed on
}

func (e *Edge) newTunnel(req *request) *tunnel {
	req.tally.opened(1)
	return &tunnel{edge: e, guest: req.guest, tally: req.tally, client: newEnd(req.client)}
}

func (t *tunnel) end() {
	t.tally.moved(t.up.Load(), t.down.Load())
	t.tally.opened(-1)
}

func (t *tunnel) countUp(n int) {
	t.up.Add(uint64(n))
	t.edge.counts.up.Add(uint64(n))
}

func (t *tunnel) countDown(n int) {
	t.down.Add(uint64(n))
	t.edge.counts.down.Add(uint64(n))
}

// reach sets the far end.
func (t *tunnel) reach(conn net.Conn) {
	// What came along with a parent proxy's answer goes first.
	if p, ok := conn.(*prefixedConn); ok {
		t.downward.pending, conn = p.prefix, p.Conn
		t.countDown(len(p.prefix))
	}
	t.far = newEnd(conn)
	if t.far.raw == nil || t.client.raw == nil {
		t.guest.immovable("a tunnel goes through TLS of ours or through a dialer of its own")
	}
}

// interrupt makes both directions stop where they are.
func (t *tunnel) interrupt() {
	t.client.conn.SetDeadline(longAgo)
	t.far.conn.SetDeadline(longAgo)
}

// settle undoes that.
func (t *tunnel) settle() {
	t.client.conn.SetDeadline(time.Time{})
	t.far.conn.SetDeadline(time.Time{})
	if t.upward.ended {
		t.far.conn.SetReadDeadline(time.Now().Add(t.edge.LingerTimeout))
	}
	if t.downward.ended {
		t.client.conn.SetReadDeadline(time.Now().Add(t.edge.LingerTimeout))
	}
}

// live is run, and the end of the account.
func (t *tunnel) live(ctx context.Context) (asleep bool) {
	defer func() {
		if !asleep {
			t.end()
		}
	}()
	return t.run(ctx)
}

// run relays until both sides are done, and closes them, or until the tunnel
// has fallen asleep, which goes on with live.
func (t *tunnel) run(ctx context.Context) (asleep bool) {
	stop := context.AfterFunc(ctx, func() { t.far.conn.Close() })
	defer stop()
	t.guest.attend(t.interrupt)
	var up sync.WaitGroup
	up.Go(t.relayUp)
	return t.relayOn(ctx, &up)
}

// relayOn is run with one direction on its way.
func (t *tunnel) relayOn(ctx context.Context, up *sync.WaitGroup) (asleep bool) {
	for {
		t.edge.sleepers.watch(t)
		t.relayDown()
		up.Wait()
		t.edge.sleepers.forget(t)
		if t.doze(ctx, t.settle, t.live) {
			return true
		}
		if !t.rest(ctx) {
			break
		}
		up.Go(t.relayUp)
	}
	t.client.conn.Close()
	t.far.conn.Close()
	return false
}

// rest waits for the end of what interrupted the tunnel. False: nothing did,
// it is over.
func (t *tunnel) rest(ctx context.Context) bool {
	if t.broken.Load() || t.upward.ended && t.downward.ended {
		return false
	}
	return t.guest.rest(ctx, t.parcel(kindTunnel), t.settle)
}

// relayUp and relayDown have names so that a goroutine dump can be read.

func (t *tunnel) relayUp() { t.relay(t.far, t.client, &t.upward, t.countUp) }

func (t *tunnel) relayDown() { t.relay(t.client, t.far, &t.downward, t.countDown) }

// relay copies until src ends, and passes the end on: a close as a close of
// one direction, everything else as a reset. An interruption leaves flow where
// it stands.
func (t *tunnel) relay(dst, src *end, f *flow, count func(int)) {
	if f.ended {
		return
	}
	if len(f.pending) > 0 {
		t.writing.Add(1)
		n, err := dst.conn.Write(f.pending)
		t.writing.Add(-1)
		if err != nil {
			f.pending = f.pending[n:]
			t.stop(err)
			return
		}
		f.pending = nil
	}
	for {
		b, n, err := src.next(bufferSize)
		if errors.Is(err, io.EOF) {
			f.ended = true
			t.finish(dst, src)
			return
		}
		if err != nil {
			t.stop(err)
			return
		}
		count(n)
		if t.half.Load() {
			t.guest.deadline(func() { src.conn.SetReadDeadline(time.Now().Add(t.edge.LingerTimeout)) })
		}
		t.writing.Add(1)
		wrote, err := dst.write(b[:n], src.waited())
		t.writing.Add(-1)
		if err != nil {
			f.pending = bytes.Clone(b[wrote:n])
		}
		buffers.Put(b)
		if err != nil {
			t.stop(err)
			return
		}
	}
}

// stop resets both connections, unless err is only an interruption.
func (t *tunnel) stop(err error) {
	if t.guest.interrupted(err) {
		return
	}
	t.broken.Store(true)
	reset(t.client.conn)
	reset(t.far.conn)
}

// finish passes the end of src on. The other direction may be a model that
// thinks for long, so that only a very long silence ends it; keep-alives,
// which net turns on, end it when the peer is gone.
func (t *tunnel) finish(dst, src *end) {
	if t.half.Swap(true) {
		return // the other one has ended too, and both are about to be closed
	}
	if closeWrite(dst.conn) != nil {
		// Gone already, or a kind of connection that cannot half-close.
		t.broken.Store(true)
		dst.conn.Close()
		src.conn.Close()
		return
	}
	t.guest.deadline(func() { dst.conn.SetReadDeadline(time.Now().Add(t.edge.LingerTimeout)) })
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
