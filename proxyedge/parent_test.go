package proxyedge

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// parent is a proxy that takes every CONNECT to target and wants a user.
func parent(conn net.Conn, target, greeting string) {
	r := bufio.NewReader(conn)
	req, err := http.ReadRequest(r)
	if err != nil || req.Method != http.MethodConnect {
		return
	}
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:p@ss word"))
	if req.Header.Get("Proxy-Authorization") != want || len(req.Header.Values("Proxy-Authorization")) != 1 ||
		!strings.HasPrefix(req.Header.Get("Via"), "1.1 halton-") || len(req.Header) != 2 {
		io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n")
		return
	}
	up, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer up.Close()
	io.WriteString(conn, "HTTP/1.1 200 OK\r\nVia: 1.1 parent\r\n\r\n"+greeting)
	go func() { io.Copy(up, r); up.(*net.TCPConn).CloseWrite() }()
	io.Copy(conn, up)
}

func TestParentProxy(t *testing.T) {
	noLeaks(t)
	o := newOrigin(t)
	plain := stranger(t, func(conn net.Conn) { parent(conn, o.addr, "") })
	greets := stranger(t, func(conn net.Conn) { parent(conn, o.addr, "220 hello ") })
	pair := httptest.NewTLSServer(nil) // for its certificate only
	defer pair.Close()
	roots := x509.NewCertPool()
	roots.AddCert(pair.Certificate())
	secure := stranger(t, func(conn net.Conn) {
		c := tls.Server(conn, &tls.Config{Certificates: pair.TLS.Certificates})
		parent(c, o.addr, "")
		c.Close()
	})

	tests := []struct{ name, url, greeting string }{
		{"http", "http://me:p%40ss%20word@" + plain, ""},
		{"https", "https://me:p%40ss%20word@" + secure, ""},
		{"answer and first bytes in one", "http://me:p%40ss%20word@" + greets, "220 hello "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &ParentProxy{URL: mustURL(t, test.url), RootCAs: roots}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			conn, err := p.DialContext(ctx, "tcp", "api.example.com:443")
			cancel() // its end must not end the connection
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, "hello")
			if err := closeWrite(conn); err != nil {
				t.Error(err)
			}
			if b, err := io.ReadAll(conn); err != nil || string(b) != test.greeting+"hello" {
				t.Errorf("read %q (%v), want %q", b, err, test.greeting+"hello")
			}
		})
		t.Run(test.name+", as an edge's Dial", func(t *testing.T) {
			p := &ParentProxy{URL: mustURL(t, test.url), RootCAs: roots}
			w := newWorld(t, "", func(e *Edge) { e.Dial = p.DialContext })
			c := w.dial()
			c.send("CONNECT api.example.net:443 HTTP/1.1\r\nProxy-Authorization: Basic d2ViOg==\r\n\r\n")
			c.expect(established + test.greeting)
			c.send("hello")
			c.expect("hello")
			c.CloseWrite()
			if b, err := io.ReadAll(c.r); err != nil || len(b) > 0 {
				t.Errorf("read %q (%v), want the end", b, err)
			}
		})
	}
}

func TestParentProxyInATransport(t *testing.T) {
	site := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	defer site.Close()
	p := &ParentProxy{URL: mustURL(t, "http://me:p%40ss%20word@"+stranger(t, func(conn net.Conn) {
		parent(conn, site.Listener.Addr().String(), "")
	}))}
	client := site.Client()
	transport := client.Transport.(*http.Transport)
	transport.Proxy, transport.DialContext = nil, p.DialContext
	resp, err := client.Get("https://example.com/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "hello" {
		t.Errorf("read %q (%v)", b, err)
	}
	client.CloseIdleConnections()
}

func TestParentProxyRefuses(t *testing.T) {
	noLeaks(t)
	p := &ParentProxy{URL: mustURL(t, "http://me:wrong@"+stranger(t, func(conn net.Conn) { parent(conn, "", "") }))}
	_, err := p.DialContext(t.Context(), "tcp", "api.example.com:443")
	var refused *ParentError
	if !errors.As(err, &refused) || refused.Status != 407 || refused.Target != "api.example.com:443" {
		t.Fatalf("%v, want a ParentError with 407", err)
	}
	if strings.Contains(err.Error(), "wrong") {
		t.Errorf("%q shows the password", err)
	}

	w := newWorld(t, "", func(e *Edge) { e.Dial = p.DialContext })
	c := w.dial()
	c.send("CONNECT api.example.com:443 HTTP/1.1\r\n\r\n")
	if answer := c.status(); !strings.HasPrefix(answer, "HTTP/1.1 502 ") || strings.Contains(answer, "Proxy-Authenticate") {
		t.Errorf("%q, want 502 and never 407", answer)
	}
}

func TestParentProxyErrors(t *testing.T) {
	noLeaks(t)
	says := func(answer string) string {
		return "http://" + stranger(t, func(conn net.Conn) { readHead(conn, 1<<10); io.WriteString(conn, answer) })
	}
	for name, raw := range map[string]string{
		"nobody":       "http://" + closedPort(t),
		"closes":       says(""),
		"garbage":      says("SSH-2.0-x\r\n\r\n"),
		"plain, not s": "https" + strings.TrimPrefix(says("HTTP/1.1 200 OK\r\n\r\n"), "http"),
		"socks":        "socks5://127.0.0.1:1",
		"no host":      "http://",
	} {
		p := &ParentProxy{URL: mustURL(t, raw)}
		if conn, err := p.DialContext(t.Context(), "tcp", "a.example:443"); err == nil {
			conn.Close()
			t.Errorf("%s: no error", name)
		}
	}

	hung := stranger(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
	for _, scheme := range []string{"http", "https"} {
		p := &ParentProxy{URL: &url.URL{Scheme: scheme, Host: hung}}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := p.DialContext(ctx, "tcp", "a.example:443"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("hung %s parent: %v, want the deadline", scheme, err)
		}
		cancel()
	}
}

func TestNoProxy(t *testing.T) {
	tests := []struct {
		list, address string
		want          bool
	}{
		{"", "a.example:443", false},
		{"", "localhost:443", true},
		{"", "127.0.0.1:443", true},
		{"", "[::1]:443", true},
		{"*", "a.example:443", true},
		{"a.example", "a.example:443", true},
		{"A.Example", "a.EXAMPLE.:443", true},
		{"a.example.", "a.example:443", true},
		{"example", "a.example:443", true},
		{"example", "notexample:443", false},
		{".example", "a.example:443", true},
		{".a.example", "a.example:443", false},
		{"*.a.example", "b.a.example:443", true},
		{"*.a.example", "a.example:443", false},
		{"b.example, a.example", "a.example:443", true},
		{"b.example a.example", "a.example:443", true},
		{"a.example:443", "a.example:443", true},
		{"a.example:80", "a.example:443", false},
		{"10.0.0.0/8", "10.1.2.3:443", true},
		{"10.0.0.0/8", "11.1.2.3:443", false},
		{"10.0.0.0/8", "ten.example:443", false},
		{"10.1.2.3", "10.1.2.3:443", true},
		{"10.1.2.3:80", "10.1.2.3:443", false},
		{"fd00::/8", "[fd00::1]:443", true},
		{"fd00::1", "[fd00::1]:443", true},
		{"[fd00::1]:443", "[fd00::1]:443", true},
		{"[fd00::1]:80", "[fd00::1]:443", false},
		{",,", "a.example:443", false},
		{".", "a.example:443", false},
		{"a.example", "no port", false},
	}
	for _, test := range tests {
		if got := bypasses(test.list, test.address); got != test.want {
			t.Errorf("NO_PROXY=%q, %s: direct=%t, want %t", test.list, test.address, got, test.want)
		}
	}

	// What is bypassed never meets the proxy.
	o := newOrigin(t)
	p := &ParentProxy{URL: mustURL(t, "http://"+closedPort(t)), NoProxy: "internal.example", Dial: func(_ context.Context, _, address string) (net.Conn, error) {
		if address != "internal.example:443" {
			return nil, fmt.Errorf("dialled %s", address)
		}
		return net.Dial("tcp", o.addr)
	}}
	conn, err := p.DialContext(t.Context(), "tcp", "internal.example:443")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
