package capture

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// pause is for how long no stream may have been open on an HTTP/2 connection
// before a drain gives it up.
//
// A GOAWAY harms no stream that it counts as processed (RFC 9113, section 6.8).
// But h2 for Python takes the connection for closed, and httpx then fails every
// stream that is open on it. It looks for no GOAWAY either before it uses a
// connection again, which it does for 5 s after an answer. Whatever is begun
// meanwhile is served.
const pause = 6 * time.Second

// often is how many times a client may take a connection up again in a drain.
// The GOAWAY then follows the end of its last stream at once, since a client
// may be one that never makes a pause.
const often = 8

// goAwayTime is how long after its GOAWAY an HTTP/2 connection on which no
// stream is open reads its end. Some clients, Go's among them, keep such a
// connection until then. Only our direction is closed, so that what a client
// sends meanwhile meets no reset, which could overtake the GOAWAY; by that
// frame it knows that nobody has seen it (RFC 9113, section 6.8).
const goAwayTime = 100 * time.Millisecond

// multiplex is a client's HTTP/2 connection. It has a server of its own, since
// net/http says goodbye to all connections of a server at once. All other
// fields are the drain's, and need its lock.
type multiplex struct {
	server *http.Server
	conn   *tls.Conn

	begun   bool      // the client has said that it speaks HTTP/2
	open    bool      // a stream is
	since   time.Time // that none is
	resumed int       // how often one was opened after a pause, in the drain
	told    time.Time // when it got a GOAWAY, or zero
	ended   bool      // our direction
}

// serveMultiplex has a server take over a connection with HTTP/2.
func (i *Interceptor) serveMultiplex(t *tunnel, conn *tls.Conn) {
	m := &multiplex{server: i.newServer(), conn: conn}
	m.server.ConnState = func(_ net.Conn, state http.ConnState) { i.drain.turned(m, state) }
	i.drain.mu.Lock()
	t.multiplex = m
	i.drain.mu.Unlock()
	m.server.Serve(&single{conn}) // returns with the connection taken
}

// turned takes that a first stream was opened, or that the last one has ended.
// net/http calls it between two frames of the connection.
func (d *drain) turned(m *multiplex, state http.ConnState) {
	if state != http.StateActive && state != http.StateIdle {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	m.open = state == http.StateActive && m.begun
	switch {
	case !m.open:
		m.begun, m.since = true, time.Now() // net/http begins with both states
	case d.draining:
		if m.resumed++; m.resumed > often {
			m.goAwayWhenIdle()
		}
	}
	d.signal()
}

// leaveMultiplexes gives up the HTTP/2 connections whose time has come. It
// reports whether others are in use or still to be told, and when to look
// again, 0 if there is no need. The caller holds the lock.
func (d *drain) leaveMultiplexes() (waiting bool, wait time.Duration) {
	for t := range d.tunnels {
		m := t.multiplex
		if m == nil || !m.begun {
			continue
		}
		var rest time.Duration
		if m.open {
			rest = d.hurry(t)
		} else {
			rest = d.leave(m)
		}
		waiting, wait = waiting || m.open || m.told.IsZero(), sooner(wait, rest)
	}
	return waiting, wait
}

// leave gives up a connection on which no stream is open, in two steps, and
// returns when the next one is due.
func (d *drain) leave(m *multiplex) time.Duration {
	if m.ended {
		return 0
	}
	if m.told.IsZero() {
		rest := min(pause-time.Since(m.since), time.Until(d.last))
		if rest > 0 && m.resumed <= often {
			return rest
		}
		m.goAway()
	}
	rest := goAwayTime - min(time.Since(m.told), time.Since(m.since))
	if rest <= 0 {
		m.ended = true
		d.workers.Go(func() { m.conn.CloseWrite() }) // waits for a client that does not read
	}
	return rest
}

// hurry sees to a connection with open streams. They end by themselves, and a
// GOAWAY would not make it sooner. But a client that begins new ones over and
// over has to be told in time for the last of them to end: when none is open
// if there is such a moment in the third quarter of the drain, else after it.
func (d *drain) hurry(t *tunnel) time.Duration {
	m := t.multiplex
	if !m.told.IsZero() || t.requests.Load() == t.before {
		return 0
	}
	if rest := time.Until(d.half); rest > 0 {
		return rest
	}
	m.resumed = often + 1
	m.goAwayWhenIdle()
	rest := time.Until(d.late)
	if rest <= 0 {
		m.goAway()
	}
	return rest
}

// goAway has the server send a GOAWAY at once.
func (m *multiplex) goAway() {
	m.told = time.Now()
	dontWait, cancel := context.WithCancel(context.Background())
	cancel()
	m.server.Shutdown(dontWait)
}

// goAwayWhenIdle has the server send one behind the end of the last stream: the
// frame that ends it and the GOAWAY leave together.
func (m *multiplex) goAwayWhenIdle() { m.server.SetKeepAlivesEnabled(false) }

// sooner returns the shorter of two times to wait, of which 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a <= 0 || b > 0 && b < a {
		return b
	}
	return a
}

// single is a net.Listener of one connection.
type single struct{ conn net.Conn }

// Accept implements net.Listener.
func (l *single) Accept() (net.Conn, error) {
	conn := l.conn
	if conn == nil {
		return nil, net.ErrClosed
	}
	l.conn = nil
	return conn, nil
}

// Close implements net.Listener.
func (l *single) Close() error { return nil }

// Addr implements net.Listener.
func (l *single) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
