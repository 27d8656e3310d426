package proxyedge

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// keepAll answers everything and remembers it.
func keepAll(w **webWorld) http.HandlerFunc {
	return func(_ http.ResponseWriter, r *http.Request) { (*w).keep(r) }
}

// A transport closes a request's body when it cannot connect, so that a naive
// second attempt sends a broken one. Every daemon here fails before its proof;
// the site must get the whole body, once.
func TestBodySurvivesFailover(t *testing.T) {
	body := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	says := func(answer string) func(t *testing.T) string {
		return func(t *testing.T) string {
			return stranger(t, func(conn net.Conn) { io.WriteString(conn, answer); io.Copy(io.Discard, conn) })
		}
	}
	daemons := map[string]struct {
		address func(*testing.T) string
		reason  string
	}{
		"refuses":        {closedPort, ReasonChainFailed},
		"closes":         {func(t *testing.T) string { return stranger(t, func(net.Conn) {}) }, ReasonChainFailed},
		"resets":         {func(t *testing.T) string { return stranger(t, func(c net.Conn) { reset(c) }) }, ReasonChainFailed},
		"never answers":  {says(""), ReasonChainFailed},
		"is a stranger":  {says("HTTP/1.1 200 OK\r\nHalton-Proof: " + newNonce() + "\r\n\r\n"), ReasonUnproven},
		"knows TLS only": {tlsOnlyDaemon, ReasonUnproven},
		"refuses us": {func(t *testing.T) string {
			addr, _ := receive(t, func(Chain) error { return fmt.Errorf("draining") }, nil)
			return addr
		}, "draining"},
	}
	for name, test := range daemons {
		for _, framing := range []string{
			fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body),
			fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body),
		} {
			t.Run(name+", "+framing[:7], func(t *testing.T) {
				var w *webWorld
				w = newWebWorld(t, keepAll(&w), nil, func(e *Edge) {
					if name == "never answers" {
						e.ProofTimeout = 50 * time.Millisecond
					}
				})
				w.setDaemon(test.address(t))
				c := w.dial()
				go c.Write([]byte("POST /site/x HTTP/1.1\r\nHost: a\r\n" + framing))
				if res, _ := c.answer("POST"); res.StatusCode != 200 {
					t.Errorf("%s", res.Status)
				}
				if got := w.requests(); len(got) != 1 || got[0].by != "site" || got[0].body != body {
					t.Errorf("%d requests arrived, want the whole body once", len(got))
				}
				s := w.wait("a passthrough", func(s Status) bool { return s.Passthrough == 1 && s.Open == 0 })
				if s.Lost != 1 || s.Reasons[test.reason] != 1 || s.Hosts[site].Lost != 1 || s.Hosts[site].Open != 0 {
					t.Errorf("counted %+v, want one for %s", s, test.reason)
				}
			})
		}
	}
}

// tlsOnlyDaemon is one of before the mark for plain tunnels: it proves that it
// admits a tunnel, and would send what is in it to the site's TLS port.
func tlsOnlyDaemon(t *testing.T) string {
	return stranger(t, func(conn net.Conn) {
		raw, _, err := readHead(conn, maxChainHead)
		if err != nil {
			return
		}
		h, err := parseRequest(raw)
		if err != nil {
			return
		}
		nonce, _ := h.one(headerNonce)
		s := statement{purpose: proofAdmit, nonce: nonce, authority: h.target, server: endpoint(conn.LocalAddr())}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\n%s: %s\r\n\r\n", headerProof, s.prove(testKey))
		if n, _ := conn.Read(make([]byte, 1)); n > 0 {
			t.Error("a byte of the client's reached a daemon that takes it for TLS")
		}
	})
}

// After the proof a request belongs to the daemon: if that dies, the client
// sees its connection close, and the site is not asked.
func TestNothingIsRepeatedAfterTheProof(t *testing.T) {
	daemons := map[string]func(net.Conn, Chain, http.Handler){
		"closes at once":   func(net.Conn, Chain, http.Handler) {},
		"resets at once":   func(c net.Conn, _ Chain, _ http.Handler) { reset(c) },
		"reads and closes": func(c net.Conn, _ Chain, _ http.Handler) { readHead(c, 1<<16) },
		"answers half": func(c net.Conn, _ Chain, _ http.Handler) {
			readHead(c, 1<<16)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
		},
		"answers garbage": func(c net.Conn, _ Chain, _ http.Handler) {
			readHead(c, 1<<16)
			io.WriteString(c, "SSH-2.0-x\r\n\r\n")
		},
	}
	for name, daemon := range daemons {
		for _, method := range []string{"GET", "POST"} {
			t.Run(method+", "+name, func(t *testing.T) {
				var w *webWorld
				w = newWebWorld(t, keepAll(&w), daemon, nil)
				c := w.dial()
				c.send(method + " /site/x HTTP/1.1\r\nHost: a\r\nIdempotency-Key: 1\r\nContent-Length: 0\r\n\r\n")
				got, _ := io.ReadAll(c.r)
				if whole := strings.HasSuffix(string(got), "half"); len(got) > 0 && (name != "answers half" || !whole) {
					t.Errorf("the client got %q", got)
				}
				if got := w.requests(); len(got) != 0 {
					t.Errorf("the site was asked: %+v", got)
				}
				if s := w.wait("a metered request", func(s Status) bool { return s.Metered == 1 }); s.Passthrough != 0 || !s.Metering {
					t.Errorf("counted %+v", s)
				}
			})
		}
	}
}

// net/http repeats a GET on a pooled connection that dies before the answer.
func TestNothingIsRepeatedOnPooledConnections(t *testing.T) {
	var asked atomic.Int32
	w := newWebWorld(t, func(http.ResponseWriter, *http.Request) {
		if asked.Add(1) == 2 {
			panic(http.ErrAbortHandler)
		}
	}, nil, nil)
	c := w.dial()
	c.send("GET /site/x HTTP/1.1\r\nHost: a\r\n\r\n")
	c.answer("GET")
	c.send("GET /site/x HTTP/1.1\r\nHost: a\r\n\r\n")
	if got, _ := io.ReadAll(c.r); len(got) != 0 {
		t.Errorf("the client got %q", got)
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("the site was asked %d times, want 2", n)
	}
}

// Each request finds out for itself where the daemon is.
func TestDaemonComesAndGoesBetweenRequests(t *testing.T) {
	var w *webWorld
	w = newWebWorld(t, keepAll(&w), serveHTTP, nil)
	up := w.daemon.Load().Proxy
	c := w.dial()
	for _, where := range []string{up, "", up, closedPort(t), up} {
		w.setDaemon(where)
		w.forget()
		c.send("GET /site/x HTTP/1.1\r\nHost: a\r\n\r\n")
		want := "site"
		if where == up {
			want = "daemon"
		}
		if res, _ := c.answer("GET"); res.Header.Get("Served-By") != want {
			t.Errorf("daemon at %q: served by %q", where, res.Header.Get("Served-By"))
		}
	}
	if got := w.requests(); len(got) != 5 {
		t.Errorf("%d requests arrived, want 5", len(got))
	}
}

// forget ends the time of the last verdict on the daemon.
func (w *webWorld) forget() {
	h := &w.Edge.health
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until = time.Time{}
}

// A client that leaves is noticed on the far side, while a model thinks.
func TestClientAbortIsPassedOn(t *testing.T) {
	bothWays(t, func(t *testing.T, _ string, daemon func(net.Conn, Chain, http.Handler)) {
		began, gone := make(chan struct{}), make(chan struct{})
		w := newWebWorld(t, func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			close(began)
			<-r.Context().Done()
			close(gone)
		}, daemon, nil)
		c := w.dial()
		c.send("POST /site/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
		<-began
		c.Close()
		<-gone
		w.wait("the end of the request", func(s Status) bool { return s.Open == 0 })
	})
}

func TestUnreachableTargets(t *testing.T) {
	down := closedPort(t)
	w := newWebWorld(t, nil, nil, func(e *Edge) {
		dial := e.Dial
		e.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if address == "down.example:443" {
				return net.Dial(network, down)
			}
			return dial(ctx, network, address)
		}
		e.Routes = append(e.Routes,
			Route{Prefix: "/down", Target: mustURL(t, "https://down.example")},
			Route{Prefix: "/gone", Target: mustURL(t, "https://gone.example")},
			Route{Prefix: "/bad", Target: mustURL(t, "ftp://example.com")},
			Route{Prefix: "/none"},
		)
		e.RootCAs = nil // httptest's certificate does not verify
	})
	for path, want := range map[string]string{
		"/down": "502 refused", "/gone": "502 no such host", "/site": "502 certificate", "/bad": "404 /site", "/none/x": "404 /site", "/sitex": "404 /site",
	} {
		c := w.dial()
		c.send("POST " + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
		res, body := c.answer("POST")
		code, text, _ := strings.Cut(want, " ")
		if fmt.Sprint(res.StatusCode) != code || !strings.Contains(body, text) || !res.Close {
			t.Errorf("%s: %s %q, want %s", path, res.Status, body, want)
		}
	}
	if s := w.wait("the failures", func(s Status) bool { return s.Failed == 3 && s.Open == 0 }); s.Passthrough != 0 {
		t.Errorf("counted %+v", s)
	}
}

// A name or an address on this machine is out of reach in absolute form, and
// the edge's own is in every form.
func TestLocalTargetsAreRefused(t *testing.T) {
	asked := make(chan string, 100)
	local := stranger(t, func(conn net.Conn) {
		raw, _, _ := readHead(conn, 1<<16)
		asked <- string(raw)
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	})
	_, port, _ := net.SplitHostPort(local)
	var own string
	routed := func(e *Edge) {
		e.Routes = []Route{{Prefix: "/local", Target: mustURL(t, "http://"+local)}}
	}
	edges := map[string]func(*Edge){
		"directly": func(e *Edge) { e.Dial = nil; routed(e) },
		"through a dialer": func(e *Edge) {
			e.Dial = new(net.Dialer).DialContext
			routed(e)
		},
		"through a parent": func(e *Edge) {
			e.Dial = (&ParentProxy{URL: mustURL(t, "http://"+local)}).DialContext
			routed(e)
		},
	}
	for name, adjust := range edges {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "", adjust)
			_, own, _ = net.SplitHostPort(w.addr)
			for _, host := range []string{"127.0.0.1", "127.1.2.3", "localhost", "LOCALHOST.", "[::1]", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]", "169.254.169.254", "[fe80::1]"} {
				for _, p := range []string{port, own} {
					c := w.dial()
					c.send("GET http://" + host + ":" + p + "/ HTTP/1.1\r\nHost: a\r\n\r\n")
					if res, body := c.answer("GET"); res.StatusCode != 403 {
						t.Errorf("%s:%s: %s %q, want 403", host, p, res.Status, body)
					}
				}
			}
			if len(asked) != 0 {
				t.Errorf("local server was asked: %q", <-asked)
			}
			c := w.dial()
			c.send("GET /local/x HTTP/1.1\r\nHost: a\r\n\r\n")
			if res, _ := c.answer("GET"); res.StatusCode != 200 {
				t.Errorf("a route to this machine: %s", res.Status)
			}
			// The connection of the route, which rests now, is nobody else's.
			c.send("GET http://" + local + "/ HTTP/1.1\r\nHost: a\r\n\r\n")
			if res, _ := c.answer("GET"); res.StatusCode != 403 {
				t.Errorf("in absolute form after it: %s", res.Status)
			}
			<-asked
			if s := w.Status(); s.Failed != 0 {
				t.Errorf("counted %+v: a refusal is no failure", s)
			}
		})
	}

	t.Run("allowed", func(t *testing.T) {
		w := newWorld(t, "", func(e *Edge) { e.Dial, e.AllowLocal = nil, true })
		c := w.dial()
		c.send("GET http://" + local + "/x?y HTTP/1.1\r\nHost: other\r\nProxy-Authorization: Basic YTo=\r\n\r\n")
		if res, _ := c.answer("GET"); res.StatusCode != 200 {
			t.Errorf("%s", res.Status)
		}
		if got, want := <-asked, "GET /x?y HTTP/1.1\r\nHost: "+local+"\r\n\r\n"; got != want {
			t.Errorf("local server got %q, want %q", got, want)
		}
		c = w.dial()
		c.send("GET http://" + w.addr + "/ HTTP/1.1\r\nHost: a\r\n\r\n")
		if res, _ := c.answer("GET"); res.StatusCode != 403 {
			t.Errorf("the edge itself: %s, want 403", res.Status)
		}
	})
}

// A metered name may lead to this machine, as where a gateway runs beside the
// client. What such a request gets must not depend on the daemon.
func TestMeteredNameThatIsLocal(t *testing.T) {
	site := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		io.WriteString(rw, r.RequestURI)
	}))
	defer site.Close()
	local := netip.MustParseAddrPort(site.Listener.Addr().String())
	for _, known := range []bool{true, false} {
		w := newWorld(t, "", func(e *Edge) {
			e.Dial = nil
			e.Metered = func(host string, port int) bool {
				return known && host == local.Addr().String() && port == int(local.Port())
			}
			e.RootCAs = x509.NewCertPool()
			e.RootCAs.AddCert(site.Certificate())
		})
		for scheme, want := range map[string]bool{"https": known, "http": false} {
			c := w.dial()
			c.send("GET " + scheme + "://" + local.String() + "/x?y HTTP/1.1\r\nHost: other\r\n\r\n")
			res, body := c.answer("GET")
			if ok := res.StatusCode == 200 && body == "/x?y"; ok != want || !ok && res.StatusCode != 403 {
				t.Errorf("metered %t, %s: %s %q", known, scheme, res.Status, body)
			}
		}
	}
}

// Idle connections do not hold the end up, and a request under way may finish.
func TestShutdownOfRequests(t *testing.T) {
	began, finish := make(chan struct{}), make(chan struct{})
	w := newWebWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(began)
			<-finish
		}
	}, nil, func(e *Edge) { e.Grace = time.Hour })
	idle, busy := w.dial(), w.dial()
	idle.send("GET /site/x HTTP/1.1\r\nHost: a\r\n\r\n")
	idle.answer("GET")
	busy.send("GET /site/slow HTTP/1.1\r\nHost: a\r\n\r\n")
	<-began
	ended := make(chan struct{})
	go func() { w.stop(); close(ended) }()
	if _, err := idle.r.ReadByte(); err != io.EOF {
		t.Errorf("the idle connection: %v, want its end", err)
	}
	close(finish)
	if res, _ := busy.answer("GET"); res.StatusCode != 200 || !res.Close {
		t.Errorf("the busy connection: %s, close %t", res.Status, res.Close)
	}
	<-ended
}
