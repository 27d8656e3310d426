package capture

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/haltonlabs/halton-meter/meter/tap"
)

// quiet is how long no exchange may have been under way before the idle
// connections are closed in a drain: a client that has just got an answer is
// likely to send its next request on the same connection, and that one still
// gets an answer, with "Connection: close" on it.
const quiet = time.Second

// farewellTime is for idle connections to be closed in. Go's HTTP/2 server
// gives a client a second to act on a GOAWAY.
const farewellTime = 2 * time.Second

// plenty is what a drain has when its context has no deadline.
const plenty = time.Minute

// drain knows every tunnel, and when the last exchange ended.
type drain struct {
	mu       sync.Mutex
	tunnels  map[*tunnel]struct{}
	sockets  map[*tap.Socket]bool // whether it was told to leave
	active   int
	lastEnd  time.Time
	draining bool // answers say "Connection: close"
	closed   bool // no more tunnels, no more background work
	changed  chan struct{}
	workers  sync.WaitGroup

	// half and late are half and three quarters of the drain's time, last is
	// the last moment for a goodbye.
	half, late, last time.Time
}

// add takes in a tunnel, unless Shutdown is past that.
func (d *drain) add(t *tunnel) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	if d.tunnels == nil {
		d.tunnels = make(map[*tunnel]struct{})
	}
	d.tunnels[t] = struct{}{}
	return true
}

func (d *drain) remove(t *tunnel) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.tunnels, t)
	d.signal()
}

func (d *drain) addSocket(s *tap.Socket) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sockets == nil {
		d.sockets = make(map[*tap.Socket]bool)
	}
	d.sockets[s] = false
	d.signal()
}

func (d *drain) removeSocket(s *tap.Socket) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sockets, s)
}

func (d *drain) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.active++
	d.signal()
}

func (d *drain) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.active--
	d.lastEnd = time.Now()
	d.signal()
}

// signal wakes Shutdown. The caller holds the lock.
func (d *drain) signal() {
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
}

func (d *drain) isDraining() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.draining
}

// work runs f beside the tunnels, unless Shutdown is past that.
func (d *drain) work(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.workers.Go(f)
	}
}

// start begins the drain.
func (d *drain) start(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.draining = true
	now := time.Now()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = now.Add(plenty)
	}
	quarter := deadline.Sub(now) / 4
	d.half, d.late, d.last = now.Add(2*quarter), now.Add(3*quarter), deadline.Add(-farewellTime)
	if d.lastEnd.IsZero() {
		d.lastEnd = now
	}
	for t := range d.tunnels {
		t.before = t.requests.Load()
	}
}

// await waits until ready says so, which it is asked with the lock held, and
// again after the time that it returns or after any change. It reports
// whether that came before the end of ctx.
func (d *drain) await(ctx context.Context, ready func() (bool, time.Duration)) bool {
	for {
		d.mu.Lock()
		ok, wait := ready()
		if ok {
			d.mu.Unlock()
			return true
		}
		if d.changed == nil {
			d.changed = make(chan struct{})
		}
		changed := d.changed
		d.mu.Unlock()

		var alarm <-chan time.Time
		if wait > 0 {
			alarm = time.After(wait)
		}
		select {
		case <-changed:
		case <-alarm:
		case <-ctx.Done():
			return false
		}
	}
}

// settled: no tunnel is open, or no exchange has been under way for a while.
func (d *drain) settled() (bool, time.Duration) {
	if len(d.tunnels) == 0 {
		return true, 0
	}
	waiting, wait := d.leaveMultiplexes()
	if d.active > 0 {
		return false, sooner(wait, d.leaveSockets())
	}
	if rest := quiet - time.Since(d.lastEnd); waiting || rest > 0 {
		return false, sooner(wait, rest)
	}
	return true, 0
}

// leaveSockets closes the WebSockets on which nothing has happened for a
// while: clients keep them open between their requests. It returns when to
// look again, 0 if there is no need. The caller holds the lock.
func (d *drain) leaveSockets() (wait time.Duration) {
	for s, left := range d.sockets {
		if left {
			continue
		}
		rest := quiet - s.Quiet()
		if rest <= 0 {
			d.sockets[s] = true
			d.workers.Go(s.Leave)
		}
		wait = sooner(wait, rest)
	}
	return wait
}

func (d *drain) empty() (bool, time.Duration) {
	_, wait := d.leaveMultiplexes()
	return len(d.tunnels) == 0 && d.active == 0, wait
}

// finish refuses everything new, and returns the tunnels that are left and how
// many exchanges are under way.
func (d *drain) finish() (left []*tunnel, active int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for t := range d.tunnels {
		left = append(left, t)
	}
	return left, d.active
}

// Shutdown drains: exchanges under way and those that follow at once are
// answered, and idle connections are closed. In HTTP/1.1 the answers say
// "Connection: close". In HTTP/2 a connection gets its GOAWAY when no stream is
// open on it; only one that has no such moment, and begins new streams in the
// drain, gets it all the same, in the last quarter of the time. When ctx ends
// first, what is left is cut, and that is the error. When Shutdown returns, so
// has every Handle, every flow of the tap is ended, and no goroutine is left.
func (i *Interceptor) Shutdown(ctx context.Context) error {
	i.setup()
	i.drain.start(ctx)
	settled := i.drain.await(ctx, i.drain.settled)

	// All that is left is idle, or out of time.
	servers, closed := context.WithCancel(ctx)
	var goodbyes sync.WaitGroup
	goodbyes.Go(func() { i.server.Shutdown(servers) })
	farewell, cancel := context.WithTimeout(ctx, farewellTime)
	defer cancel()
	if !i.drain.await(farewell, i.drain.empty) {
		i.Logger.Info("capture.drain.unfinished")
	}
	left, active := i.drain.finish()
	for _, t := range left {
		t.Close()
	}
	closed()
	goodbyes.Wait()
	i.server.Close()
	i.stop()
	i.drain.await(context.Background(), i.drain.empty)
	i.drain.workers.Wait()
	i.upstream.closeIdle()
	if !settled && active > 0 {
		return fmt.Errorf("drain: %d exchanges cut: %w", active, context.Cause(ctx))
	}
	return nil
}

// queue hands the connections with HTTP/1.1 to their http.Server.
type queue struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newQueue() *queue {
	return &queue{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// put reports whether the server took the connection.
func (q *queue) put(conn net.Conn) bool {
	select {
	case q.conns <- conn:
		return true
	case <-q.closed:
		return false
	}
}

// Accept implements net.Listener.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case conn := <-q.conns:
		return conn, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (q *queue) Close() error {
	q.once.Do(func() { close(q.closed) })
	return nil
}

// Addr implements net.Listener; the queue has no address of its own.
func (q *queue) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
