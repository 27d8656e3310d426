package proxyedge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// web serves what is no CONNECT: base-URL routes and requests in absolute
// form. Each passes through net/http, which writes it anew.
type web struct {
	edge   *Edge
	server *http.Server
	proxy  *httputil.ReverseProxy

	chained *http.Transport // to the daemon
	routes  *http.Transport // to the targets of routes
	open    *http.Transport // to where clients say
	parent  *http.Transport // to the parent proxy; nil: there is none
	here    atomic.Bool     // the parent is on this machine, as its last connection says

	used atomic.Int64 // when a request last went direct, in Unix time
}

type gateKey struct{}

func (e *Edge) newWeb() *web {
	w := &web{edge: e}
	w.server = &http.Server{
		Handler:                      w,
		DisableGeneralOptionsHandler: true,
		MaxHeaderBytes:               e.MaxHead + 4096, // the gate has judged
		ErrorLog:                     log.New(io.Discard, "", 0),
		BaseContext:                  func(ln net.Listener) context.Context { return ln.(*single).ctx },
		ConnState: func(c net.Conn, state http.ConnState) {
			if line, ok := c.(*gate).Conn.(*line); ok {
				line.between(state == http.StateNew || state == http.StateIdle)
			}
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, gateKey{}, c.(*gate))
		},
	}
	w.proxy = w.newProxy()
	w.chained = w.newTransport(w.takeDaemon)
	// A connection is only used once: another request may be another
	// client's, and has a proof of its own. Unlike DisableKeepAlives, this
	// tells the daemon nothing that it would pass on.
	w.chained.MaxIdleConnsPerHost = -1
	w.routes = w.newTransport(e.dialAddress)
	w.open = w.newTransport(func(ctx context.Context, network, address string) (net.Conn, error) {
		if !e.AllowLocal && !ctx.Value(forwardKey{}).(*forward).named {
			ctx = context.WithValue(ctx, outsideKey{}, true)
		}
		return e.dialAddress(ctx, network, address)
	})
	w.parent = w.newParent()
	return w
}

// serve serves one client, of which read was read already, until its
// connection is closed.
func (w *web) serve(ctx context.Context, v *guest, client net.Conn, read []byte) {
	for {
		l := &line{Conn: client, guest: v}
		g := newGate(w.edge, l, read)
		l.gate = g
		v.attend(l.interrupt)
		ln := &single{ctx: ctx, gate: g, closed: make(chan struct{})}
		w.server.Serve(ln) // says that ln is closed, or that the server is
		if !ln.handed {
			g.Close()
		}
		<-g.closed
		if !l.left {
			return
		}
		// Between two requests an upgrade took the connection out of
		// net/http's hands. What was read goes on from here.
		read = g.in
		w.edge.counts.up.Add(-uint64(len(read)))
		if !v.rest(ctx, &parcel{Kind: kindClient, conns: handles(client), up: read}, func() { client.SetDeadline(time.Time{}) }) {
			client.Close()
			return
		}
	}
}

// line is a client's connection under its gate. If an upgrade wants it, it
// ends for net/http, and stays open.
type line struct {
	net.Conn
	guest *guest
	gate  *gate

	// Under guest.mu.
	idle  bool // between two requests
	woken bool // its deadline is ours
	left  bool // it has ended for net/http
}

// between notes what net/http says of the connection.
func (l *line) between(idle bool) {
	l.guest.mu.Lock()
	defer l.guest.mu.Unlock()
	l.idle = idle
	if idle && l.guest.pause != nil {
		l.interrupt()
	}
}

// interrupt is called with guest.mu held.
func (l *line) interrupt() {
	if l.idle {
		l.woken = true
		l.Conn.SetReadDeadline(longAgo)
	}
}

// mayLeave is asked by whoever reads. If the gate reads between two requests,
// net/http has got nothing of the next one.
func (l *line) mayLeave() bool {
	if g := l.gate; len(g.out) > 0 || g.body.pending() || g.raw.Load() || g.over.Load() {
		return false
	}
	l.guest.mu.Lock()
	defer l.guest.mu.Unlock()
	if l.idle && l.guest.pause != nil {
		l.guest.woken, l.left = true, true
	}
	return l.left
}

func (l *line) Read(p []byte) (int, error) {
	for {
		if l.mayLeave() {
			return 0, os.ErrDeadlineExceeded // net/http answers nothing to it
		}
		n, err := l.Conn.Read(p)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if !l.mayLeave() && !l.calm() {
			return 0, err
		}
	}
}

// calm takes our own deadline back, and tells it from one of net/http's: the
// upgrade is over, or a request came before it.
func (l *line) calm() bool {
	l.guest.mu.Lock()
	defer l.guest.mu.Unlock()
	if !l.woken {
		return false
	}
	l.woken = false
	l.Conn.SetReadDeadline(time.Time{})
	return true
}

// SetReadDeadline keeps net/http from undoing an interruption.
func (l *line) SetReadDeadline(t time.Time) error {
	l.guest.mu.Lock()
	defer l.guest.mu.Unlock()
	if l.idle && l.guest.pause != nil {
		return nil
	}
	l.woken = false
	return l.Conn.SetReadDeadline(t)
}

func (l *line) CloseWrite() error { return closeWrite(l.Conn) }

func (l *line) Close() error {
	l.guest.mu.Lock()
	defer l.guest.mu.Unlock()
	if l.left {
		return nil
	}
	return l.Conn.Close()
}

// shutdown closes idle connections, and the others with their next answer.
func (w *web) shutdown(ctx context.Context) {
	if err := w.server.Shutdown(ctx); err != nil {
		w.edge.log.Info("edge.shutdown.cut", "err", err)
	}
}

func (w *web) close() {
	w.server.Close()
	w.closeIdle()
}

func (w *web) closeIdle() {
	w.routes.CloseIdleConnections()
	w.open.CloseIdleConnections()
	if w.parent != nil {
		w.parent.CloseIdleConnections()
	}
}

// ServeHTTP implements http.Handler.
func (w *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	g := r.Context().Value(gateKey{}).(*gate)
	g.busy.Store(true)
	defer g.busy.Store(false)
	defer w.survive()
	switch r.Method {
	case refusedMethod:
		answerError(rw, g.status, g.text)
		return
	case http.MethodConnect:
		w.connect(r.Context(), rw, g)
		return
	}
	x, err := w.aim(g, r)
	if err != nil {
		var no *refusedError
		errors.As(err, &no)
		answerError(rw, no.status, no.text)
		return
	}
	defer x.end()
	if x.admit(r.Context()); r.Context().Err() != nil {
		panic(http.ErrAbortHandler)
	}
	r = r.WithContext(w.edge.withPassage(r.Context(), x.through))
	x.parent = x.daemon == nil && x.takesParent(w.edge.guarded(r.Context()), r)
	// Else net/http reads the rest of a body before it lets an early answer,
	// such as a 413, out. It never fails for HTTP/1.
	http.NewResponseController(rw).EnableFullDuplex()
	w.proxy.ServeHTTP(&answer{rw}, r.WithContext(context.WithValue(r.Context(), forwardKey{}, x)))
}

// survive reports a bug in one request; net/http closes its connection.
func (w *web) survive() {
	switch p := recover(); p {
	case nil:
	case http.ErrAbortHandler:
		panic(p)
	default:
		w.edge.log.Error("edge.panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		panic(http.ErrAbortHandler)
	}
}

// connect serves a CONNECT on a connection that has served other requests.
func (w *web) connect(ctx context.Context, rw http.ResponseWriter, g *gate) {
	_, buffered, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer g.Close()
	early, _ := buffered.Peek(buffered.Reader.Buffered())
	early = append(append([]byte(nil), early...), g.in...)
	l := g.Conn.(*line)
	if run, _ := w.edge.connect(ctx, l.guest, l.Conn, g.connect, early); run != nil {
		l.guest.serveTunnel()
		run(ctx)
	}
}

// refusedError is why a request is not even tried.
type refusedError struct{ status, text string }

func (r *refusedError) Error() string { return r.text }

// aim finds out where a request goes.
func (w *web) aim(g *gate, r *http.Request) (*forward, error) {
	if len(r.Header[headerNonce]) > 0 {
		return nil, &refusedError{"508 Loop Detected", errLoop.Error()}
	}
	t, err := parseTarget(r.RequestURI)
	if err != nil {
		return nil, &refusedError{"400 Bad Request", err.Error()}
	}
	x := &forward{web: w, gate: g, through: w.edge.passageOf(r.Header[headerVia])}
	if t.scheme == "" {
		var ok bool
		if t, x.user, ok = w.edge.match(t.path); !ok {
			return nil, &refusedError{"404 Not Found", w.edge.noRoute()}
		}
	}
	if t.path == "" {
		t.path = "/"
	}
	metered := func(port int) bool { return w.edge.Metered != nil && w.edge.Metered(t.host, port) }
	// A name that is metered is spoken to over TLS, whatever the client
	// thinks: its key and its prompts cross the network.
	if t.scheme == "http" && t.port == 80 && !metered(80) && metered(443) {
		t.scheme, t.port = "https", 443
		t.authority = strings.TrimSuffix(t.authority, ":80")
	}
	if x.user == "" {
		h := &head{}
		for _, value := range r.Header["Proxy-Authorization"] {
			h.fields = append(h.fields, field{"Proxy-Authorization", value})
		}
		x.user = proxyUser(h)
	}
	x.target = t
	known := metered(t.port)
	x.named = known && t.scheme == "https"
	x.tally = tally{counts: &w.edge.counts, host: t.host, metered: !x.through.passed() && known}
	return x, nil
}

// noRoute tells a client whose base URL is wrong which ones there are.
func (e *Edge) noRoute() string {
	var all []string
	for _, r := range e.Routes {
		if _, _, err := r.host(); err == nil {
			all = append(all, r.Prefix)
		}
	}
	if len(all) == 0 {
		return "this is a proxy, and has no base URLs"
	}
	return "no base URL begins like this; there are " + strings.Join(all, ", ")
}

// answerError answers a request with an error of our own, and closes the
// connection after it.
func answerError(rw http.ResponseWriter, status, text string) {
	code, err := strconv.Atoi(status[:3])
	if err != nil {
		code = http.StatusBadGateway
	}
	h := rw.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Connection", "close")
	rw.WriteHeader(code)
	io.WriteString(rw, text+"\n")
}

// single is a listener that has one connection to give.
type single struct {
	ctx    context.Context
	gate   *gate
	handed bool // Accept's, until Serve has returned

	closing sync.Once
	closed  chan struct{}
}

// Accept implements net.Listener.
func (s *single) Accept() (net.Conn, error) {
	if !s.handed {
		s.handed = true
		return s.gate, nil
	}
	select {
	case <-s.gate.closed:
	case <-s.closed:
	}
	return nil, net.ErrClosed
}

// Close implements net.Listener.
func (s *single) Close() error {
	s.closing.Do(func() { close(s.closed) })
	return nil
}

// Addr implements net.Listener.
func (s *single) Addr() net.Addr { return s.gate.LocalAddr() }

// forward is one request on its way.
type forward struct {
	web    *web
	gate   *gate
	target target
	user   string
	tally  tally

	through passage // what it has passed
	parent  bool    // it goes to the parent as it is

	// named is set if it goes to a metered name over TLS. A daemon would not
	// ask where that name leads to, and the edge must not do otherwise when
	// there is none: whoever answers has to have the name's certificate.
	named bool

	daemon  net.Conn    // admitted; nil: the request goes direct
	taken   atomic.Bool // by the transport
	not     *unmetered  // why it goes direct
	sending atomic.Bool // something of it may have been sent
	counted sync.Once
	err     error // with which no answer came
}

type forwardKey struct{}

func forwardOf(r *http.Request) *forward {
	return r.Context().Value(forwardKey{}).(*forward)
}

// admit asks the daemon whether it takes the request. Its proof is the commit
// point: a model may think for minutes before its first byte, and a request
// that was repeated meanwhile would be paid for twice.
func (x *forward) admit(ctx context.Context) {
	x.tally.opened(1)
	e := x.web.edge
	x.not = &unmetered{reason: ReasonNotMetered}
	if x.through.passed() {
		x.not.reason = ReasonPassed
	}
	if !x.tally.metered {
		return
	}
	req := &request{
		client: x.gate.Conn, host: x.target.host, port: x.target.port,
		user: x.user, plain: true,
	}
	var a admitted
	if a, x.not = e.admit(ctx, req); x.not != nil {
		e.log.Info("edge.passthrough", "host", x.target.host, "reason", x.not.reason, "err", x.not.err)
		return
	}
	a.done()
	x.daemon = a.daemon
	x.sending.Store(true)
	x.counted.Do(x.tally.metering)
	e.counts.on(true)
}

// sent notes that the request has gone out on the direct path.
func (x *forward) sent() {
	x.sending.Store(true)
	x.counted.Do(func() { x.tally.passthrough(x.not) })
}

// end closes the account.
func (x *forward) end() {
	if x.daemon != nil {
		x.daemon.Close() // the transport's, unless it never asked for it
	}
	x.counted.Do(func() {
		switch {
		case errors.Is(x.err, errOwnAddress), errors.Is(x.err, errLocalAddress):
			x.web.edge.log.Warn("edge.local_address.refused", "host", x.target.host, "port", x.target.port)
		case x.err == nil, errors.Is(x.err, context.Canceled):
			x.tally.abort()
		default:
			x.tally.fail()
			x.web.edge.log.Info("edge.forward.failed", "host", x.target.host, "err", x.err)
		}
	})
	x.tally.moved(x.gate.up.Swap(0), x.gate.down.Swap(0))
	x.tally.opened(-1)
}
