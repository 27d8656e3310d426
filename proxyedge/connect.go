package proxyedge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
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
	host   string
	port   int
	user   string
	plain  bool
	early  []byte // what the client sent behind the head without waiting
	tally  tally
}

func (r *request) authority() string { return joinAuthority(r.host, r.port) }

// serveConn reads one head and answers it. Tunnels go on in a goroutine of
// their own, so that the head's buffer and the grown stack are not held for
// the hours that a tunnel may last.
func (e *Edge) serveConn(ctx context.Context, client net.Conn, w *web, serving *sync.WaitGroup) {
	defer e.survive(client)
	e.counts.begin()
	stop := context.AfterFunc(ctx, func() { client.Close() })

	run := e.route(ctx, client, w)
	if run == nil {
		stop()
		return
	}
	serving.Go(func() {
		defer stop()
		defer e.survive(client)
		run(ctx)
	})
}

// survive keeps a bug in one connection from ending all the others.
func (e *Edge) survive(client net.Conn) {
	if r := recover(); r != nil {
		client.Close()
		e.log.Error("edge.panic", "panic", r, "stack", string(debug.Stack()))
	}
}

// route answers the first request and returns what is to run on, or nil after
// it has closed the connection.
func (e *Edge) route(ctx context.Context, client net.Conn, w *web) func(context.Context) {
	client.SetDeadline(time.Now().Add(e.HeadTimeout))
	raw, early, err := readHead(client, e.MaxHead)
	if err != nil {
		switch {
		case errors.Is(err, errHeadTooLarge):
			refuse(client, "431 Request Header Fields Too Large", "the request head is too large")
		case errors.Is(err, os.ErrDeadlineExceeded) && len(raw) > 0:
			client.SetDeadline(time.Now().Add(time.Second))
			refuse(client, "408 Request Timeout", "the request head did not arrive in time")
		default:
			client.Close()
		}
		return nil
	}
	h, err := parseRequest(raw)
	if err != nil {
		refuse(client, "400 Bad Request", err.Error())
		return nil
	}
	switch {
	case h.method == "OPTIONS" && h.target == "*":
		e.serveIdentify(client, h)
		lingeringClose(client)
		return nil
	case h.method != "CONNECT":
		client.SetDeadline(time.Time{})
		g := newGate(e, client, append(raw, early...))
		return func(ctx context.Context) { w.serve(ctx, g) }
	}
	return e.connect(ctx, client, h, early)
}

// connect answers a CONNECT and returns the tunnel to run, or nil after it has
// closed the connection.
func (e *Edge) connect(ctx context.Context, client net.Conn, h *head, early []byte) func(context.Context) {
	host, port, err := parseAuthority(h.target)
	if err != nil {
		refuse(client, "400 Bad Request", err.Error())
		return nil
	}
	// The handshake of an edge has lost its way: to serve it would be a loop.
	if len(h.get(headerNonce)) > 0 {
		refuse(client, "508 Loop Detected", errLoop.Error())
		return nil
	}
	client.SetDeadline(time.Time{})
	req := &request{client: client, host: host, port: port, user: proxyUser(h)}
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
		var run func(context.Context)
		if run, not = e.chain(ctx, req); not == nil {
			return run
		}
	}
	return e.startDirect(ctx, req, not)
}

// startDirect dials the destination and answers the client.
func (e *Edge) startDirect(ctx context.Context, req *request, not *unmetered) func(context.Context) {
	upstream, err := e.dialDirect(ctx, req.host, req.port)
	if err != nil {
		status, text := dialFailure(err)
		if errors.Is(err, errOwnAddress) {
			e.log.Warn("edge.own_address.refused", "authority", req.authority())
		} else {
			req.tally.fail()
			e.log.Info("edge.dial.failed", "authority", req.authority(), "err", err)
		}
		refuse(req.client, status, text)
		return nil
	}
	if _, err := io.WriteString(req.client, established); err != nil {
		req.tally.abort()
		req.client.Close()
		upstream.Close()
		return nil
	}
	req.tally.passthrough(not)
	if req.tally.metered {
		e.log.Info("edge.passthrough", "host", req.host, "reason", not.reason, "err", not.err)
	}
	client, early, t := req.client, req.early, e.newTunnel(req)
	t.countUp(len(early))
	return func(ctx context.Context) {
		defer t.end()
		t.direct(ctx, client, upstream, early)
	}
}

// dialDirect opens the direct path, and refuses our own addresses: before,
// during and after dialling, since Dial may be anybody's.
func (e *Edge) dialDirect(ctx context.Context, host string, port int) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, e.DialTimeout)
	defer cancel()
	if ip, err := netip.ParseAddr(host); err == nil {
		if err := e.guard.refuse(ctx, netip.AddrPortFrom(ip, uint16(port))); err != nil {
			return nil, err
		}
	}
	ctx = e.guarded(ctx)
	dial := e.Dial
	if dial == nil {
		dial = dialGuarded
	} else if err := e.guard.refuseName(ctx, host, port); err != nil {
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
