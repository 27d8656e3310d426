package proxyedge

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// site is the name of the tests' target; httptest has a certificate for it.
const site = "example.com"

// webWorld is an edge with a route to a site that speaks TLS, and perhaps a
// daemon that serves the same in its place.
type webWorld struct {
	*world
	mu     sync.Mutex
	got    []received // by the site
	chains []Chain    // taken by the daemon
}

// received is a request as the site or the daemon has read it.
type received struct {
	by      string // "site" or "daemon"
	line    string
	host    string
	header  http.Header
	body    string
	trailer http.Header
}

// newWebWorld starts a world whose site, and daemon unless it is nil, answer
// with h. The daemon may spoil its connections.
func newWebWorld(t *testing.T, h http.HandlerFunc, daemon func(net.Conn, Chain, http.Handler), adjust func(*Edge)) *webWorld {
	t.Helper()
	w := &webWorld{}
	by := func(who string) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Served-By", who)
			r.Header.Set("Test-By", who)
			h(rw, r)
		})
	}
	server := httptest.NewUnstartedServer(by("site"))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	address := ""
	if daemon != nil {
		address, _ = receive(t, nil, func(conn net.Conn, c Chain) {
			w.mu.Lock()
			w.chains = append(w.chains, c)
			w.mu.Unlock()
			daemon(conn, c, by("daemon"))
		})
	}
	w.world = newWorld(t, address, func(e *Edge) {
		e.Metered = func(host string, port int) bool { return host == site && port == 443 }
		e.Routes = []Route{
			{Prefix: "/site", Target: mustURL(t, "https://"+site)},
			{Prefix: "/site/deep/", Target: mustURL(t, "https://"+site+"/base/")},
		}
		e.RootCAs = x509.NewCertPool()
		e.RootCAs.AddCert(server.Certificate())
		e.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if address != site+":443" {
				return nil, fmt.Errorf("no such host: %s", address)
			}
			return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
		}
		if adjust != nil {
			adjust(e)
		}
	})
	return w
}

// keep reads a request to its end and remembers it.
func (w *webWorld) keep(r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		body = []byte("broken: " + err.Error())
	}
	by := r.Header.Get("Test-By")
	r.Header.Del("Test-By")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.got = append(w.got, received{by, r.Method + " " + r.RequestURI, r.Host, r.Header.Clone(), string(body), r.Trailer.Clone()})
}

func (w *webWorld) requests() []received {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]received(nil), w.got...)
}

// serveHTTP answers on a connection as net/http does.
func serveHTTP(conn net.Conn, _ Chain, h http.Handler) {
	done := make(chan struct{})
	var once sync.Once
	server := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	server.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			once.Do(func() { close(done) })
		}
	}
	ln := &oneConn{conn: closeNotifier{conn, func() { once.Do(func() { close(done) }) }}, done: done}
	server.Serve(ln)
}

// oneConn is a listener with one connection.
type oneConn struct {
	conn net.Conn
	done chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	<-l.done
	return nil, net.ErrClosed
}
func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// closeNotifier tells of the close of a connection that was hijacked.
type closeNotifier struct {
	net.Conn
	closed func()
}

func (c closeNotifier) Close() error { defer c.closed(); return c.Conn.Close() }

// answer reads one response with its body.
func (c *client) answer(method string) (*http.Response, string) {
	c.t.Helper()
	res, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("read answer: %v", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatalf("read answer's body: %v", err)
	}
	return res, string(body)
}

// bothWays runs a test with a healthy daemon and without one.
func bothWays(t *testing.T, f func(t *testing.T, by string, daemon func(net.Conn, Chain, http.Handler))) {
	t.Run("daemon", func(t *testing.T) { f(t, "daemon", serveHTTP) })
	t.Run("direct", func(t *testing.T) { f(t, "site", nil) })
}

func TestRequestsArriveUnchanged(t *testing.T) {
	tests := []struct {
		name, request string
		line, host    string
		header        http.Header
		body, user    string
	}{
		{
			name:    "a path as it is spelt",
			request: "GET /site/v1/a%2fb%7E|x//../y?beta=true&a=1;2&%zz HTTP/1.1\r\nHost: 127.0.0.1:8081\r\n\r\n",
			line:    "GET /v1/a%2fb%7E|x//../y?beta=true&a=1;2&%zz", host: site,
		},
		{
			name:    "a base URL that ends in a slash",
			request: "GET /site//v1/messages HTTP/1.1\r\nHost: a\r\n\r\n",
			line:    "GET //v1/messages", host: site,
		},
		{
			name:    "nothing behind the prefix",
			request: "GET /site HTTP/1.1\r\nHost: a\r\n\r\n",
			line:    "GET /", host: site,
		},
		{
			name:    "the longest prefix, and its target's path",
			request: "GET /site/deep/er? HTTP/1.1\r\nHost: a\r\n\r\n",
			line:    "GET /base/er?", host: site,
		},
		{
			name: "the header, without what is ours",
			request: "POST /p/my%20project/site/v1/messages HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nX-Api-Key: k\r\n" +
				"Accept-Encoding: zstd\r\nX-Forwarded-For: 10.0.0.1\r\nHalton-Project: p\r\nProxy-Connection: keep-alive\r\n" +
				"Proxy-Foo: x\r\nTwice: 1\r\nTwice: 2\r\nConnection: keep-alive\r\n\r\nhello",
			line: "POST /v1/messages", host: site, body: "hello", user: "my project",
			header: http.Header{
				"Content-Length": {"5"}, "X-Api-Key": {"k"}, "Accept-Encoding": {"zstd"}, "X-Forwarded-For": {"10.0.0.1"},
				"Twice": {"1", "2"}, "Connection": {"keep-alive"},
			},
		},
		{
			name:    "chunks and trailers",
			request: "POST /site/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n3;a=b\r\nabc\r\n0\r\nSum: 9\r\n\r\n",
			line:    "POST /x", host: site, body: "abc",
		},
		{
			name:    "plain http to a name that is metered",
			request: "GET http://Example.com/v1 HTTP/1.1\r\nHost: other\r\nProxy-Authorization: Basic d2ViOg==\r\n\r\n",
			line:    "GET /v1", host: "Example.com", user: "web",
		},
		{
			name:    "https in absolute form, as some clients send it to a proxy",
			request: "GET https://example.com:443?q HTTP/1.1\r\nHost: example.com\r\n\r\n",
			line:    "GET /?q", host: "example.com:443",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, by string, daemon func(net.Conn, Chain, http.Handler)) {
				var w *webWorld
				w = newWebWorld(t, func(rw http.ResponseWriter, r *http.Request) { w.keep(r) }, daemon, nil)
				c := w.dial()
				c.send(test.request)
				if res, _ := c.answer("GET"); res.StatusCode != 200 || res.Header.Get("Served-By") != by {
					t.Fatalf("%s, served by %q", res.Status, res.Header.Get("Served-By"))
				}
				got := w.requests()
				if len(got) != 1 || got[0].line != test.line || got[0].host != test.host || got[0].body != test.body {
					t.Fatalf("%s got %+v, want %s for %s with %q", by, got, test.line, test.host, test.body)
				}
				if test.header != nil && fmt.Sprint(got[0].header) != fmt.Sprint(test.header) {
					t.Errorf("%s got the header %v, want %v", by, got[0].header, test.header)
				}
				if strings.Contains(test.request, "Sum: 9") && got[0].trailer.Get("Sum") != "9" {
					t.Errorf("%s got the trailer %v", by, got[0].trailer)
				}
				want := Chain{Host: site, Port: 443, Client: mustAddr(t, c.LocalAddr().String()), User: test.user, Plain: true}
				if daemon != nil && (len(w.chains) != 1 || w.chains[0] != want) {
					t.Errorf("daemon was told %+v, want %+v", w.chains, want)
				}
			})
		})
	}
}

// The answer reaches the client as it was, with nothing added by net/http.
func TestAnswersArriveUnchanged(t *testing.T) {
	bothWays(t, func(t *testing.T, by string, daemon func(net.Conn, Chain, http.Handler)) {
		w := newWebWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
			h := rw.Header()
			h.Set("Link", "</early>")
			rw.WriteHeader(http.StatusEarlyHints)
			h.Del("Link")
			h["Date"], h["Content-Type"] = nil, nil
			h.Set("Trailer", "Announced")
			h.Set("Request-Id", "7")
			rw.WriteHeader(http.StatusTeapot)
			io.WriteString(rw, "body")
			h.Set("Announced", "1")
			h.Set(http.TrailerPrefix+"Surprise", "2")
		}, daemon, nil)
		c := w.dial()
		for range 2 { // also on a connection that was used before
			c.send("GET /site/x HTTP/1.1\r\nHost: a\r\n\r\n")
			if early, err := http.ReadResponse(c.r, nil); err != nil || early.StatusCode != 103 || early.Header.Get("Link") != "</early>" {
				t.Fatalf("%v, %v, want 103", early, err)
			}
			res, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			if err != nil || string(body) != "body" || res.StatusCode != http.StatusTeapot {
				t.Errorf("%s %q, %v", res.Status, body, err)
			}
			want := http.Header{"Request-Id": {"7"}, "Served-By": {by}}
			if fmt.Sprint(res.Header) != fmt.Sprint(want) {
				t.Errorf("header %v, want %v", res.Header, want)
			}
			if res.Trailer.Get("Announced") != "1" || res.Trailer.Get("Surprise") != "2" {
				t.Errorf("trailer %v", res.Trailer)
			}
		}
	})
}

// Each piece is there before the next one is written, in both directions at
// once.
func TestStreamsAreNotBuffered(t *testing.T) {
	bothWays(t, func(t *testing.T, by string, daemon func(net.Conn, Chain, http.Handler)) {
		w := newWebWorld(t, func(rw http.ResponseWriter, r *http.Request) {
			http.NewResponseController(rw).EnableFullDuplex()
			rw.WriteHeader(http.StatusOK)
			http.NewResponseController(rw).Flush()
			for b := make([]byte, 64); ; {
				n, err := r.Body.Read(b)
				rw.Write(b[:n])
				http.NewResponseController(rw).Flush()
				if err != nil {
					return
				}
			}
		}, daemon, nil)
		c := w.dial()
		c.send("POST /site/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		res, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			piece := make([]byte, 5)
			if _, err := io.ReadFull(res.Body, piece); err != nil || string(piece) != "hello" {
				t.Fatalf("piece %d: %q, %v", i, piece, err)
			}
			c.send("5\r\nhello\r\n")
		}
		c.send("0\r\n\r\n")
		if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "hello" || res.Header.Get("Served-By") != by {
			t.Errorf("%q, %v", rest, err)
		}
	})
}

func TestExpectContinue(t *testing.T) {
	bothWays(t, func(t *testing.T, by string, daemon func(net.Conn, Chain, http.Handler)) {
		var w *webWorld
		w = newWebWorld(t, func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/no" {
				rw.WriteHeader(http.StatusRequestEntityTooLarge)
				return
			}
			w.keep(r)
		}, daemon, nil)
		head := " HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
		c := w.dial()
		c.send("POST /site/yes" + head)
		if res, err := http.ReadResponse(c.r, nil); err != nil || res.StatusCode != 100 {
			t.Fatalf("%v, %v, want 100", res, err)
		}
		c.send("body")
		if res, _ := c.answer("POST"); res.StatusCode != 200 {
			t.Errorf("%s", res.Status)
		}
		if got := w.requests(); len(got) != 1 || got[0].body != "body" {
			t.Errorf("%s got %+v", by, got)
		}
		c = w.dial()
		c.send("POST /site/no" + head)
		res, _ := c.answer("POST")
		if res.StatusCode == 100 { // the site was slow, and nobody waits for ever (RFC 9110 section 10.1.1)
			res, _ = c.answer("POST")
		}
		if res.StatusCode != 413 {
			t.Errorf("%s, want 413 before the body", res.Status)
		}
	})
}

func TestUpgrades(t *testing.T) {
	noise := bytes.Repeat([]byte("\x00\r\n\r\nGET / HTTP/1.1 "), 10000)
	bothWays(t, func(t *testing.T, _ string, daemon func(net.Conn, Chain, http.Handler)) {
		w := newWebWorld(t, func(rw http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Upgrade") == "" {
				io.WriteString(rw, "not upgraded")
				return
			}
			conn, buf, err := http.NewResponseController(rw).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			io.WriteString(buf, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")
			buf.Flush()
			io.CopyN(conn, buf, int64(len(noise)))
		}, daemon, nil)
		c := w.dial()
		c.send("GET /site/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
		if res, body := c.answer("GET"); res.StatusCode != 200 || body != "not upgraded" {
			t.Fatalf("%s %q, want h2c to be ignored", res.Status, body)
		}
		c.send("GET /site/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		if res, err := http.ReadResponse(c.r, nil); err != nil || res.StatusCode != 101 {
			t.Fatalf("%v, %v, want 101", res, err)
		}
		go c.Write(noise)
		got, err := io.ReadAll(c.r)
		if want := "first" + string(noise); string(got) != want || err != nil {
			t.Errorf("%d bytes, %v, want %d", len(got), err, len(want))
		}
	})
}

// A connection that has served a request may still become a tunnel, and
// loses nothing that was sent along.
func TestConnectAfterRequest(t *testing.T) {
	w := newWebWorld(t, func(rw http.ResponseWriter, r *http.Request) {}, nil, nil)
	c := w.dial()
	c.send("GET /site/ HTTP/1.1\r\nHost: a\r\n\r\n")
	c.answer("GET")
	c.send("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n")
	c.expect(established)
	secure := tls.Client(c, &tls.Config{RootCAs: w.RootCAs, ServerName: site})
	if err := secure.HandshakeContext(t.Context()); err != nil {
		t.Error(err)
	}
	c = w.dial()
	c.send("GET /site/ HTTP/1.1\r\nHost: a\r\n\r\nCONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\nGET / HTTP/1.1\r\n\r\n")
	c.answer("GET")
	c.expect(established + "HTTP/1.0 400") // net/http's answer to plain HTTP on a TLS port
}
