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

// goAwayTime is how long after its GOAWAY an HTTP/2 connection that was idle,
// and still is, reads its end. Some clients, Go's among them, keep such a
// connection until then. Only our direction is closed, so that what a client
// sends meanwhile meets no reset, which could overtake the GOAWAY; by that
// frame it knows that nobody has seen it (RFC 9113, section 6.8).
const goAwayTime = 100 * time.Millisecond

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
func (d *drain) start() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.draining = true
	if d.lastEnd.IsZero() {
		d.lastEnd = time.Now()
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
	if d.active > 0 {
		return false, d.leaveSockets()
	}
	wait := quiet - time.Since(d.lastEnd)
	return wait <= 0, wait
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
		} else if wait == 0 || rest < wait {
			wait = rest
		}
	}
	return wait
}

func (d *drain) empty() (bool, time.Duration) { return len(d.tunnels) == 0 && d.active == 0, 0 }

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
// answered, with "Connection: close" or a GOAWAY, then idle connections are
// closed. When ctx ends first, what is left is cut, and that is the error.
// When Shutdown returns, so has every Handle, every flow of the tap is ended,
// and no goroutine is left.
func (i *Interceptor) Shutdown(ctx context.Context) error {
	i.setup()
	i.drain.start()
	// HTTP/2 can say goodbye at once: what is under way goes on, and what
	// comes is sent elsewhere by the client.
	servers, closed := context.WithCancel(ctx)
	var goodbyes sync.WaitGroup
	goodbyes.Go(func() { i.h2.Shutdown(servers) })
	i.hasten()
	settled := i.drain.await(ctx, i.drain.settled)

	// All that is left is idle, or out of time.
	goodbyes.Go(func() { i.h1.Shutdown(servers) })
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
	i.h1.Close()
	i.h2.Close()
	i.stop()
	i.drain.await(context.Background(), i.drain.empty)
	i.drain.workers.Wait()
	i.upstream.closeIdle()
	if !settled && active > 0 {
		return fmt.Errorf("drain: %d exchanges cut: %w", active, context.Cause(ctx))
	}
	return nil
}

// hasten ends the HTTP/2 connections on which nothing is under way.
func (i *Interceptor) hasten() {
	idle := make(map[*tunnel]int64)
	i.drain.mu.Lock()
	for t := range i.drain.tunnels {
		if t.h2.Load() != nil && t.active.Load() == 0 {
			idle[t] = t.requests.Load()
		}
	}
	i.drain.mu.Unlock()
	i.drain.work(func() {
		select {
		case <-time.After(goAwayTime):
		case <-i.base.Done():
			return
		}
		for t, requests := range idle {
			if t.active.Load() == 0 && t.requests.Load() == requests {
				t.h2.Load().CloseWrite() // fails if the client is gone
			}
		}
	})
}

// queue hands connections whose handshake is done to an http.Server.
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
