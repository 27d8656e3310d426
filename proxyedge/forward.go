package proxyedge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"
)

var (
	errLoop = errors.New("this request has passed a proxy of ours already")
	errSent = errors.New("the request was sent before")
	// errBrokenBody stands for the answer of a target that took the part of a
	// body which came before it was cut off for the whole.
	errBrokenBody = errors.New("the request's body is malformed")
)

// idleTime is how long a connection to a target may rest.
const idleTime = 30 * time.Second

// newTransport makes connections with dial. What speaks HTTP/1.1 here speaks
// it there too: nothing has to be translated, and upgrades work.
func (w *web) newTransport(dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Transport {
	t := &http.Transport{
		DialContext:         dial,
		TLSClientConfig:     &tls.Config{RootCAs: w.edge.RootCAs, ClientSessionCache: tls.NewLRUClientSessionCache(64)},
		TLSHandshakeTimeout: w.edge.DialTimeout,
		DisableCompression:  true, // Accept-Encoding is the client's
		// As many connections may rest as a busy client opened, but not so
		// long that their ends meet a new request.
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     idleTime,
		// Without it a body follows "Expect: 100-continue" at once.
		ExpectContinueTimeout: time.Second,
		Protocols:             new(http.Protocols),
		// No ResponseHeaderTimeout: a thinking model may be silent for minutes.
	}
	t.Protocols.SetHTTP1(true)
	return t
}

// takeDaemon gives the transport the connection that the daemon has admitted,
// and no second one: after the proof a request has been sent.
func (w *web) takeDaemon(ctx context.Context, _, _ string) (net.Conn, error) {
	x := ctx.Value(forwardKey{}).(*forward)
	conn := x.daemon
	if x.taken.Swap(true) {
		return nil, errSent
	}
	return conn, nil
}

// dialAddress is the direct path.
func (e *Edge) dialAddress(ctx context.Context, _, address string) (net.Conn, error) {
	host, port, err := parseAuthority(address)
	if err != nil {
		return nil, err
	}
	return e.dialDirect(ctx, host, port)
}

func (w *web) newProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:        rewrite,
		Transport:      w,
		FlushInterval:  -1,
		BufferPool:     copyBuffers{},
		ModifyResponse: answered,
		ErrorHandler:   failed,
		ErrorLog:       log.New(io.Discard, "", 0),
	}
}

// rewrite addresses the request to its target, and puts back what
// ReverseProxy takes out of it for the sake of servers that believe what
// proxies tell them.
func rewrite(r *httputil.ProxyRequest) {
	x := forwardOf(r.In)
	out := &url.URL{
		Scheme: x.target.scheme, Host: joinAuthority(x.target.host, x.target.port),
		RawQuery: r.In.URL.RawQuery, ForceQuery: r.In.URL.ForceQuery,
	}
	if x.daemon != nil {
		out.Scheme = "http"
	}
	// As it is spelt; but an opaque URL that begins with two slashes means
	// a host.
	if strings.HasPrefix(x.target.path, "//") {
		out.RawPath = x.target.path
		out.Path, _ = url.PathUnescape(x.target.path) // net/http has parsed it
	} else {
		out.Opaque = x.target.path
	}
	r.Out.URL, r.Out.Host = out, x.target.authority
	if x.through.passed() {
		setVia(r.Out.Header, unmarked(r.Out.Header[headerVia]))
	}
	if x.parent {
		x.absolute(r.Out)
	}

	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Keep-Alive"} {
		if values, ok := r.In.Header[name]; ok {
			r.Out.Header[name] = values
		}
	}
	// It says what HTTP/1.1 means anyway, but clients send it, and a front end
	// may look at the set of fields.
	if v := r.In.Header["Connection"]; len(v) == 1 && strings.EqualFold(v[0], "keep-alive") {
		r.Out.Header["Connection"] = v
	}
	// h2c would carry requests past everything that reads this one.
	if up := r.Out.Header.Get("Upgrade"); up != "" && !strings.EqualFold(up, "websocket") {
		r.Out.Header.Del("Upgrade")
		r.Out.Header.Del("Connection")
	}
	for name := range r.Out.Header {
		if isPrivate(name) {
			delete(r.Out.Header, name)
		}
	}
	// The server fills in this very map at the end of the body, where the
	// transport then looks for trailers. ReverseProxy gave it a copy.
	r.Out.Trailer = r.In.Trailer
}

// RoundTrip implements http.RoundTripper. Nothing is sent twice: a transport
// repeats a GET on a new connection if a pooled one has died (RFC 9110 section
// 9.2.2), which is up to the client.
func (w *web) RoundTrip(req *http.Request) (*http.Response, error) {
	x := forwardOf(req)
	if x.daemon != nil {
		return w.chained.RoundTrip(req)
	}
	trace := &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			if x.sending.Load() {
				info.Conn.Close()
			}
		},
		WroteHeaders: x.sent,
	}
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), trace))
	// A timer stands still while the machine sleeps, and the connections of
	// before are dead when it wakes. The wall clock tells.
	now := time.Now().Unix()
	if last := w.used.Swap(now); now-last > int64(idleTime/time.Second) {
		w.closeIdle()
	}
	if x.parent {
		return x.toParent(req)
	}
	if x.target.route {
		return w.routes.RoundTrip(req)
	}
	return w.open.RoundTrip(req)
}

// answered takes the response's head, before the client gets it.
func answered(res *http.Response) error {
	x := forwardOf(res.Request)
	if x.gate.broken.Load() {
		return errBrokenBody
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		x.gate.raw.Store(true)
	}
	return x.refusedByParent(res)
}

// failed is called when no answer came. If nothing was sent, the client learns
// why. Otherwise its connection is closed, as the target has done it: whether
// to repeat the request is for the client to decide.
func failed(rw http.ResponseWriter, req *http.Request, err error) {
	x := forwardOf(req)
	x.err = err
	if refused := (*ParentError)(nil); errors.As(err, &refused) {
		status, text := dialFailure(err)
		answerError(rw, status, text)
		return
	}
	if x.sending.Load() || req.Context().Err() != nil {
		panic(http.ErrAbortHandler)
	}
	status, text := dialFailure(err)
	answerError(rw, status, text)
}

// answer keeps net/http from adding to the header what the target did not
// send.
type answer struct{ http.ResponseWriter }

// Unwrap lets http.ResponseController flush.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Hijack keeps what the client sent before it was answered, which ReverseProxy
// would leave in net/http's buffer.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err == nil && rw.Reader.Buffered() > 0 {
		early, _ := rw.Peek(rw.Reader.Buffered()) // is there
		conn = &prefixedConn{Conn: conn, prefix: bytes.Clone(early)}
	}
	return conn, rw, err
}

func (a *answer) WriteHeader(status int) {
	if status == http.StatusContinue {
		return // net/http says so when the transport begins to read the body
	}
	if status >= 200 {
		h := a.Header()
		for _, name := range []string{"Date", "Content-Type", "Content-Length"} {
			if _, ok := h[name]; !ok {
				h[name] = nil
			}
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

// copyBuffers are the relay's.
type copyBuffers struct{}

func (copyBuffers) Get() []byte  { return buffers.Get().(*buffer)[:] }
func (copyBuffers) Put(b []byte) { buffers.Put((*buffer)(b)) }
