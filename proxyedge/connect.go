package proxyedge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"time"
)

const established = "HTTP/1.1 200 Connection Established\r\n\r\n"

// tlsHandshake is the first byte of a TLS client: a record of type handshake
// (RFC 8446 section 5.1).
const tlsHandshake = 0x16

// request is what a client asks for: a tunnel, or, if plain, one exchange.
type request struct {
	client net.Conn
	guest  *guest
	host   string
	port   int
	user   string
	plain  bool
	early  []byte // what the client sent behind the head without waiting
	tally  tally
}

func (r *request) authority() string { return joinAuthority(r.host, r.port) }

// serveConn serves a client that is new.
func (e *Edge) serveConn(ctx context.Context, client net.Conn, w *web, serving *sync.WaitGroup) {
	e.serveClient(ctx, e.crowd.enter(), client, nil, w, serving)
}

// serveClient reads one head, of which some may have been read, and answers
// it. Tunnels go on in a goroutine of their own, so that the head's buffer and
// the grown stack are not held for the hours that a tunnel may last.
func (e *Edge) serveClient(ctx context.Context, g *guest, client net.Conn, read []byte, w *web, serving *sync.WaitGroup) {
	var run errand
	defer func() {
		if run == nil {
			g.leave()
		}
	}()
	defer e.survive(client)
	e.counts.begin()
	stop := context.AfterFunc(ctx, func() { client.Close() })
	if run = e.route(ctx, g, client, read, w); run == nil {
		stop()
		return
	}
	v := &sojourn{edge: e, ctx: ctx, guest: g, client: client, stop: stop, serving: serving}
	g.sojourn = v
	serving.Add(1)
	v.begin(run)
}

// errand is what a guest's goroutine does. It returns early if its tunnel has
// fallen asleep.
type errand func(ctx context.Context) (asleep bool)

// sojourn is a guest's, from its answer to its end. Whoever wakes a tunnel
// begins it anew.
type sojourn struct {
	edge    *Edge
	ctx     context.Context
	guest   *guest
	client  net.Conn
	stop    func() bool // what closes client when ctx ends
	serving *sync.WaitGroup
}

func (v *sojourn) begin(run errand) { go v.stay(run) }

func (v *sojourn) stay(run errand) {
	asleep := false
	defer func() {
		if !asleep {
			v.stop()
			v.guest.leave()
			v.serving.Done()
		}
	}()
	defer v.edge.survive(v.client)
	asleep = run(v.ctx)
}

// survive keeps a bug in one connection from ending all the others.
func (e *Edge) survive(client net.Conn) {
	if r := recover(); r != nil {
		client.Close()
		e.log.Error("edge.panic", "panic", r, "stack", string(debug.Stack()))
	}
}

// route answers the first request and returns what is to run on, or nil after
// it has closed the connection. Until something is answered, an upgrade that
// comes between is survived by what was read so far: the next program begins
// anew with it, and so does this one if the upgrade fails.
func (e *Edge) route(ctx context.Context, g *guest, client net.Conn, read []byte, w *web) errand {
	for {
		run, left := e.tryRoute(ctx, g, client, read, w)
		if left == nil {
			return run
		}
		if !g.rest(ctx, &parcel{Kind: kindClient, conns: handles(client), up: left}, func() { client.SetDeadline(time.Time{}) }) {
			client.Close()
			return nil
		}
		read = left
	}
}

// tryRoute returns what was read if it was interrupted.
func (e *Edge) tryRoute(ctx context.Context, g *guest, client net.Conn, read []byte, w *web) (run errand, left []byte) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client.SetDeadline(time.Now().Add(e.HeadTimeout))
	g.attend(func() { client.SetReadDeadline(longAgo); cancel() })
	if _, ok := client.(*net.TCPConn); !ok {
		g.immovable("a client's connection is not TCP")
	}
	in := io.Reader(client)
	if len(read) > 0 {
		in = io.MultiReader(bytes.NewReader(read), client)
	}
	raw, early, err := readHead(in, e.MaxHead)
	if err != nil {
		switch {
		case g.interrupted(err):
			return nil, nonNil(raw)
		case errors.Is(err, errHeadTooLarge):
			refuse(client, "431 Request Header Fields Too Large", "the request head is too large")
		case errors.Is(err, os.ErrDeadlineExceeded) && len(raw) > 0:
			client.SetDeadline(time.Now().Add(time.Second))
			refuse(client, "408 Request Timeout", "the request head did not arrive in time")
		default:
			client.Close()
		}
		return nil, nil
	}
	h, err := parseRequest(raw)
	if err != nil {
		refuse(client, "400 Bad Request", err.Error())
		return nil, nil
	}
	switch {
	case h.method == "OPTIONS" && h.target == "*":
		e.serveIdentify(client, h)
		lingeringClose(client)
		return nil, nil
	case h.method != "CONNECT":
		all := append(raw, early...)
		if !g.serveRequests() {
			return nil, all
		}
		client.SetDeadline(time.Time{})
		return func(ctx context.Context) bool { w.serve(ctx, g, client, all); return false }, nil
	}
	run, interrupted := e.connect(ctx, g, client, h, early)
	if interrupted {
		return nil, append(raw, early...)
	}
	return run, nil
}

// nonNil tells having read nothing from having nothing to say.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// connect answers a CONNECT and returns the tunnel to run, or nil after it has
// closed the connection, or because it was interrupted before any answer.
func (e *Edge) connect(ctx context.Context, g *guest, client net.Conn, h *head, early []byte) (run errand, interrupted bool) {
	host, port, err := parseAuthority(h.target)
	if err != nil {
		refuse(client, "400 Bad Request", err.Error())
		return nil, false
	}
	// The handshake of an edge has lost its way: to serve it would be a loop.
	if len(h.get(headerNonce)) > 0 {
		refuse(client, "508 Loop Detected", errLoop.Error())
		return nil, false
	}
	client.SetDeadline(time.Time{})
	req := &request{client: client, guest: g, host: host, port: port, user: proxyUser(h)}
	if len(early) > 0 {
		// A copy: the head's buffer is not to live as long as the tunnel.
		req.early = bytes.Clone(early)
	}
	through := e.passageOf(h.get(headerVia))
	ctx = e.withPassage(ctx, through)
	metered := !through.passed() && e.Metered != nil && e.Metered(host, port)
	req.tally = tally{counts: &e.counts, host: host, metered: metered}

	not := &unmetered{reason: ReasonNotMetered}
	if through.passed() {
		not.reason = ReasonPassed
	}
	if metered {
		if run, not = e.chain(ctx, req); not == nil {
			return run, false
		}
		if ctx.Err() != nil && g.isWoken() {
			return nil, true
		}
	}
	return e.startDirect(ctx, req, not)
}

// startDirect dials the destination and answers the client.
func (e *Edge) startDirect(ctx context.Context, req *request, not *unmetered) (run errand, interrupted bool) {
	upstream, err := e.dialDirect(ctx, req.host, req.port)
	if err != nil && ctx.Err() != nil && req.guest.isWoken() {
		return nil, true
	}
	if err != nil {
		status, text := dialFailure(err)
		if errors.Is(err, errOwnAddress) {
			e.log.Warn("edge.own_address.refused", "authority", req.authority())
		} else {
			req.tally.fail()
			e.log.Info("edge.dial.failed", "authority", req.authority(), "err", err)
		}
		refuse(req.client, status, text)
		return nil, false
	}
	if _, err := io.WriteString(req.client, established); err != nil {
		req.tally.abort()
		req.client.Close()
		upstream.Close()
		return nil, false
	}
	req.tally.passthrough(not)
	if req.tally.metered {
		e.log.Info("edge.passthrough", "host", req.host, "reason", not.reason, "err", not.err)
	}
	t := e.newTunnel(req)
	t.reach(upstream)
	t.upward.pending = req.early
	t.countUp(len(req.early))
	return t.live, false
}

// dialDirect opens the direct path, and refuses our own addresses: before,
// during and after dialling, since Dial may be anybody's.
func (e *Edge) dialDirect(ctx context.Context, host string, port int) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, e.DialTimeout)
	defer cancel()
	ctx = e.guarded(ctx)
	dial := e.Dial
	if dial == nil {
		dial = dialGuarded
	} else if err := e.judge(ctx, host, port); err != nil {
		return nil, err
	}
	authority := joinAuthority(host, port)
	conn, err := dial(ctx, "tcp", authority)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", authority, err)
	}
	if ap, ok := addrPort(conn.RemoteAddr()); ok && e.Dial != nil {
		if err := e.guard.refuseOwn(ctx, ap); err != nil {
			conn.Close()
			return nil, fmt.Errorf("dial %s: %w", authority, err)
		}
	}
	return conn, nil
}

func dialFailure(err error) (status, text string) {
	var timeout net.Error
	var refused *ParentError
	switch {
	case errors.Is(err, errOwnAddress):
		return "403 Forbidden", errOwnAddress.Error()
	case errors.Is(err, errLocalAddress):
		return "403 Forbidden", errLocalAddress.Error()
	case errors.As(err, &refused):
		return "502 Bad Gateway", err.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "504 Gateway Timeout", err.Error()
	default:
		return "502 Bad Gateway", err.Error()
	}
}

// refuse answers with an error and closes the connection.
func refuse(client net.Conn, status, text string) {
	text += "\n"
	fmt.Fprintf(client, "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		status, len(text), text)
	lingeringClose(client)
}

// lingeringClose takes in what the client still sends, within bounds: closing
// with unread bytes resets the connection, and the client may then lose the
// answer before it has read it (RFC 9112 section 9.6).
func lingeringClose(client net.Conn) {
	defer client.Close()
	if closeWrite(client) != nil {
		return
	}
	client.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	io.CopyN(io.Discard, client, 256<<10)
}
