package proxyedge

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
)

// strictParent forwards what is in absolute form and tunnels to port 443 only,
// as squid does by default (its acl SSL_ports). Its site is a recorder.
func strictParent(t *testing.T, site string) (addr string, heads func() []string) {
	r := &recorder{}
	r.addr = stranger(t, func(conn net.Conn) { r.parent(conn, site) })
	return r.addr, r.requests
}

func (r *recorder) parent(conn net.Conn, site string) {
	up, err := net.Dial("tcp", site)
	if err != nil {
		return
	}
	defer up.Close()
	for {
		raw, rest, err := readHead(conn, 1<<16)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.got = append(r.got, string(raw))
		r.mu.Unlock()
		switch {
		case !bytes.Contains(raw, []byte("Proxy-Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("me:p@ss")))):
			io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
			return
		case bytes.HasPrefix(raw, []byte("CONNECT ")):
			if !bytes.Contains(raw, []byte(":443 ")) {
				io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
				return
			}
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
			go func() { io.Copy(up, io.MultiReader(bytes.NewReader(rest), conn)); closeWrite(up) }()
			io.Copy(conn, up)
			return
		}
		up.Write(raw)
		answer := make([]byte, len("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
		if _, err := io.ReadFull(up, answer); err != nil {
			return
		}
		conn.Write(answer)
	}
}

func TestPlainRequestsThroughAParent(t *testing.T) {
	pair := httptest.NewTLSServer(nil) // for its certificate only
	defer pair.Close()
	roots := x509.NewCertPool()
	roots.AddCert(pair.Certificate())

	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			site := newRecorder(t)
			addr, heads := strictParent(t, site.addr)
			if scheme == "https" {
				r := &recorder{}
				addr = stranger(t, func(conn net.Conn) {
					c := tls.Server(conn, &tls.Config{Certificates: pair.TLS.Certificates})
					defer c.Close()
					r.parent(c, site.addr)
				})
				heads = r.requests
			}
			w := newWorld(t, "", func(e *Edge) {
				e.Dial = nil
				e.Parent = &ParentProxy{URL: mustURL(t, scheme+"://me:p%40ss@"+addr), RootCAs: roots}
				e.Routes = []Route{{Prefix: "/plain", Target: mustURL(t, "http://b.example:8000/base")}}
			})
			c := w.dial()
			for _, request := range []string{
				"GET http://A.example/a%2fb//c?x HTTP/1.1\r\nHost: other\r\nX: y\r\nProxy-Authorization: Basic " +
					base64.StdEncoding.EncodeToString([]byte("project:")) + "\r\n\r\n",
				"GET http://a.example:81//d HTTP/1.1\r\nHost: a.example\r\n\r\n",
				"GET /plain/e? HTTP/1.1\r\nHost: a\r\n\r\n",
			} {
				c.send(request)
				if res, body := c.answer("GET"); res.StatusCode != 200 || body != "ok" {
					t.Fatalf("%s %q", res.Status, body)
				}
			}
			auth := "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("me:p@ss")) + "\r\n"
			want := []string{
				"GET http://A.example/a%2fb//c?x HTTP/1.1\r\nHost: A.example\r\nX: y\r\n" + auth + "\r\n",
				"GET http://a.example:81//d HTTP/1.1\r\nHost: a.example:81\r\n" + auth + "\r\n",
				"GET http://b.example:8000/base/e? HTTP/1.1\r\nHost: b.example:8000\r\n" + auth + "\r\n",
			}
			for i, got := range heads() {
				// From its second request on the edge knows that this
				// parent is on the same machine.
				before, rest, told := strings.Cut(got, "Via: 1.1 halton-")
				if told {
					_, rest, _ = strings.Cut(rest, "\r\n")
				}
				if got := before + rest; got != want[i] || told && i == 0 {
					t.Errorf("the parent got %q, want %q", got, want[i])
				}
			}
			if s := w.wait("three requests", func(s Status) bool { return s.Passthrough == 3 && s.Open == 0 }); s.Failed != 0 {
				t.Errorf("counted %+v", s)
			}
		})
	}
}

// What is not plain is tunnelled, and what is bypassed never meets the parent.
func TestWhatAParentTunnels(t *testing.T) {
	site := newRecorder(t)
	addr, heads := strictParent(t, site.addr)
	proxy := addr
	w := newWorld(t, "", func(e *Edge) {
		e.Dial = nil
		e.Parent = &ParentProxy{
			URL: mustURL(t, "http://me:p%40ss@"+addr), NoProxy: "internal.example",
			Dial: leadsTo(&proxy, site.addr),
		}
	})
	c := w.dial()
	c.send("CONNECT a.example:443 HTTP/1.1\r\n\r\n")
	c.expect(established)
	if got := heads(); len(got) != 1 || !strings.HasPrefix(got[0], "CONNECT a.example:443 ") {
		t.Errorf("the parent got %q", got)
	}
	c = w.dial()
	c.send("GET http://internal.example/x HTTP/1.1\r\nHost: a\r\n\r\n")
	if res, _ := c.answer("GET"); res.StatusCode != 200 || len(heads()) != 1 {
		t.Errorf("%s, and the parent got %q", res.Status, heads())
	}
	c = w.dial()
	c.send("GET http://a.example/x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
	if res, _ := c.answer("GET"); res.StatusCode != 502 || len(heads()) != 2 || !strings.HasPrefix(heads()[1], "CONNECT a.example:80 ") {
		t.Errorf("%s, and the parent got %q", res.Status, heads())
	}
}

func TestParentThatRefusesPlainRequests(t *testing.T) {
	site := newRecorder(t)
	addr, _ := strictParent(t, site.addr)
	w := newWorld(t, "", func(e *Edge) {
		e.Dial, e.Parent = nil, &ParentProxy{URL: mustURL(t, "http://me:wrong@"+addr)}
	})
	c := w.dial()
	c.send("POST http://a.example/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
	res, body := c.answer("POST")
	if res.StatusCode != 502 || !strings.Contains(body, "check the user and password") || strings.Contains(body, "wrong") || res.Header.Get("Proxy-Authenticate") != "" {
		t.Errorf("%s %q %v, want 502 and never 407", res.Status, body, res.Header)
	}
	// A name is judged before it is handed over, like an address.
	for _, target := range []string{"localhost.", "169.254.169.254", "[fe80::1]", "0.0.0.0"} {
		c := w.dial()
		c.send("GET http://" + target + "/x HTTP/1.1\r\nHost: a\r\n\r\n")
		if res, body := c.answer("GET"); res.StatusCode != 403 {
			t.Errorf("%s: %s %q, want 403", target, res.Status, body)
		}
	}
	if len(site.requests()) != 0 {
		t.Errorf("the site got %q", site.requests())
	}
}
