package proxyedge

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// refusedMethod is the method of the request that stands in for one that was
// refused. A client cannot send it: the gate refuses that too.
const refusedMethod = "REFUSED"

var standIn = []byte(refusedMethod + " / HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n")

var errSwitched = errors.New("the protocol was switched")

// gate is a client's connection on its way to net/http. It lets a request
// pass only if every careful parser reads it the same way; net/http also
// takes bare LFs, folded fields and lengths that contradict each other (RFC
// 9112 sections 2.2, 5.2 and 6.3 allow it). In the place of a request that it
// refuses, it passes one that makes the handler say so, in its turn.
type gate struct {
	net.Conn
	edge *Edge

	// These belong to whoever reads; net/http has one reader at a time.
	in      []byte // read from the client, not yet judged
	out     []byte // judged, on its way to net/http
	body    framing
	connect *head

	status, text string // of the refusal

	over atomic.Bool // a request was refused: nothing follows
	raw  atomic.Bool // no HTTP any more
	busy atomic.Bool // a request is being served
	// broken: the body of the request that is being served was cut off.
	broken atomic.Bool

	up, down atomic.Uint64
	closing  sync.Once
	closed   chan struct{}
}

// newGate begins with what was read of client already.
func newGate(e *Edge, client net.Conn, read []byte) *gate {
	g := &gate{Conn: client, edge: e, in: read, closed: make(chan struct{})}
	g.countUp(len(read))
	return g
}

func (g *gate) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		switch {
		case len(g.out) > 0:
			n := copy(p, g.out)
			g.out = g.out[n:]
			return n, nil
		case g.over.Load():
			return 0, io.EOF
		case g.raw.Load():
			if len(g.in) > 0 {
				n := copy(p, g.in)
				g.in = g.in[n:]
				return n, nil
			}
			return g.fill(p)
		case g.body.pending():
			return g.readBody(p)
		}
		if err := g.readRequest(); err != nil {
			return 0, err
		}
	}
}

// fill reads from the client.
func (g *gate) fill(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	g.countUp(n)
	return n, err
}

func (g *gate) readBody(p []byte) (int, error) {
	var n int
	var err error
	if len(g.in) > 0 {
		n = copy(p, g.in)
		g.in = g.in[n:]
	} else if n, err = g.fill(p); n == 0 {
		return 0, err // a lasting one comes back at the next read
	}
	taken, err := g.body.scan(p[:n])
	if err != nil {
		g.broken.Store(true)
	}
	if taken < n {
		g.in = append(bytes.Clone(p[taken:n]), g.in...)
	}
	return taken, err
}

// readRequest reads a head and judges it. What was read when a deadline
// struck, which is how net/http wakes a reader, is kept for the next call.
func (g *gate) readRequest() error {
	r := headReader{g: g}
	defer r.disarm()
	if len(g.in) > 0 {
		r.arm()
	}
	raw, rest, err := readHead(io.MultiReader(bytes.NewReader(g.in), &r), g.edge.MaxHead)
	if g.raw.Load() {
		g.in = append(raw, rest...)
		return nil
	}
	switch {
	case errors.Is(err, errHeadTooLarge):
		g.refuse("431 Request Header Fields Too Large", "the request head is too large")
		return nil
	case err != nil:
		g.in = raw
		return err
	}
	g.in = rest
	h, err := parseRequest(raw)
	if err == nil {
		err = h.checkForward()
	}
	if err == nil {
		g.body, err = h.framing(g.edge.MaxHead)
	}
	if err != nil {
		g.refuse("400 Bad Request", err.Error())
		return nil
	}
	if h.method == "CONNECT" {
		g.connect = h
		g.raw.Store(true)
	}
	g.out = bytes.TrimPrefix(raw, []byte("\r\n"))
	return nil
}

func (g *gate) refuse(status, text string) {
	g.status, g.text = status, text
	g.in, g.out = nil, standIn
	g.over.Store(true)
}

func (g *gate) Write(p []byte) (int, error) {
	n, err := g.Conn.Write(p)
	g.down.Add(uint64(n))
	g.edge.counts.down.Add(uint64(n))
	return n, err
}

func (g *gate) countUp(n int) {
	g.up.Add(uint64(n))
	g.edge.counts.up.Add(uint64(n))
}

func (g *gate) CloseWrite() error { return closeWrite(g.Conn) }

// Close closes the connection, and ends its serving.
func (g *gate) Close() error {
	err := net.ErrClosed
	g.closing.Do(func() {
		defer close(g.closed)
		if g.over.Load() {
			lingeringClose(g.Conn)
			err = nil
			return
		}
		err = g.Conn.Close()
	})
	return err
}

// headReader reads the rest of a head, which has HeadTimeout from its first
// byte on. Before that byte a client may be silent for as long as it likes,
// and what follows a request that is being served may wait for its answer.
type headReader struct {
	g     *gate
	timer *time.Timer
}

func (r *headReader) Read(p []byte) (int, error) {
	n, err := r.g.fill(p)
	if n > 0 {
		r.arm()
	}
	if r.g.raw.Load() {
		return n, errSwitched
	}
	return n, err
}

func (r *headReader) arm() {
	if r.timer == nil && !r.g.busy.Load() {
		r.timer = time.AfterFunc(r.g.edge.HeadTimeout, func() { r.g.Close() })
	}
}

func (r *headReader) disarm() {
	if r.timer != nil {
		r.timer.Stop()
	}
}

// checkForward refuses what an origin might read in another way than we do,
// beyond what parseRequest refuses.
func (h *head) checkForward() error {
	hosts := h.get("Host")
	switch {
	case h.method == refusedMethod:
		return malformed("unsupported method")
	case h.version == "HTTP/1.1" && len(hosts) == 0:
		return malformed("no Host") // RFC 9112 section 3.2
	case len(hosts) > 0 && !isHost(hosts[0]):
		return malformed("malformed Host")
	case h.method == "CONNECT":
		_, _, err := parseAuthority(h.target)
		return err
	}
	for _, f := range h.fields {
		if disguised(f.name) {
			return malformed("framing field spelt with an underscore")
		}
	}
	_, err := parseTarget(h.target)
	return err
}

// disguised reports whether name is that of a field which decides on framing,
// with _ for -. To servers that hand fields over as CGI does (RFC 3875 section
// 4.1.18) the two are the same.
func disguised(name string) bool {
	plain := strings.ReplaceAll(name, "_", "-")
	return plain != name && (strings.EqualFold(plain, "Content-Length") || strings.EqualFold(plain, "Transfer-Encoding"))
}

// isHost reports whether s can be the value of a Host: what a user or a path
// would need is not in it. It may be empty (RFC 9110 section 7.2).
func isHost(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._:[]", c) >= 0) {
			return false
		}
	}
	return true
}

// framing tells where a request's body ends.
func (h *head) framing(maxTrailer int) (framing, error) {
	if len(h.get("Transfer-Encoding")) > 0 {
		return framing{chunked: true, maxTrailer: maxTrailer}, nil
	}
	length, ok := h.one("Content-Length")
	if !ok || h.method == "CONNECT" {
		return framing{}, nil
	}
	n, err := strconv.ParseInt(length, 10, 64)
	if err != nil {
		return framing{}, malformed("malformed Content-Length")
	}
	return framing{left: n}, nil
}
