package proxyedge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestHealthyDaemonGetsTheTunnel(t *testing.T) {
	chains := make(chan Chain, 1)
	daemon, _ := receive(t, nil, func(conn net.Conn, c Chain) {
		chains <- c
		shout(conn, c)
	})
	w := newWorld(t, daemon, nil)

	c := w.dial()
	c.send("CONNECT API.Example.com.:443 HTTP/1.1\r\nHost: api.example.com\r\n" +
		"Proxy-Authorization: Basic bXklMjBwcm9qZWN0OnNlY3JldA==\r\n\r\n") // my%20project:secret
	c.expect(established)
	c.send("\x16hello")
	c.expect("<\x16hello")
	c.send("again")
	c.expect("<again")

	want := Chain{Host: metered, Port: 443, Client: mustAddr(t, c.LocalAddr().String()), User: "my project"}
	if got := <-chains; got != want {
		t.Errorf("daemon was told %+v, want %+v", got, want)
	}
	s := w.wait("a metered tunnel", func(s Status) bool { return s.Metered == 1 })
	if s.Passthrough != 0 || !s.Metering || !s.OffSince.IsZero() || s.Open != 1 || s.Hosts[metered].Open != 1 {
		t.Errorf("counted %+v, want metering and one open tunnel", s)
	}
	c.Close()
	s = w.wait("the end of the tunnel", func(s Status) bool { return s.Open == 0 })
	if s.Hosts[metered].Open != 0 || s.BytesUp != 11 || s.BytesDown != 13 || s.Hosts[metered].BytesUp != 11 || s.Hosts[metered].BytesDown != 13 {
		t.Errorf("counted %+v, want 11 bytes up and 13 down", s)
	}
	if got := w.origin.received(); got != nil {
		t.Errorf("origin received %q, want nothing", got)
	}
}

func TestPipelinedClientHello(t *testing.T) {
	daemon, _ := receive(t, nil, shout)
	for _, early := range []string{"\x16hello", "\x16" + strings.Repeat("x", 20<<10)} {
		w := newWorld(t, daemon, nil)
		c := w.connect(early)
		var got strings.Builder
		for got.Len() < len(early) {
			b := make([]byte, 4096)
			n, err := c.r.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			got.WriteString(strings.ReplaceAll(string(b[:n]), "<", ""))
		}
		if got.String() != early {
			t.Errorf("daemon got %d bytes, want the %d that came with the head", got.Len(), len(early))
		}
	}
}

// Each daemon is bad in its own way; the client must not notice, and what it
// sent must reach the origin once.
func TestBadDaemonsCostNothing(t *testing.T) {
	const first = "\x16client hello"
	hung := func(conn net.Conn) { io.Copy(io.Discard, conn) }
	says := func(answer string) func(net.Conn) {
		return func(conn net.Conn) { io.WriteString(conn, answer); hung(conn) }
	}
	impatient := func(e *Edge) { e.ProofTimeout, e.CommitTimeout = 100*time.Millisecond, 100*time.Millisecond }
	tests := []struct {
		name   string
		daemon func(t *testing.T) string
		reason string
	}{
		{"never ran", func(*testing.T) string { return "" }, ReasonDaemonDown},
		{"refuses", closedPort, ReasonChainFailed},
		{"accepts and never answers", func(t *testing.T) string { return stranger(t, hung) }, ReasonChainFailed},
		{"closes at once", func(t *testing.T) string { return stranger(t, func(net.Conn) {}) }, ReasonChainFailed},
		{"resets", func(t *testing.T) string { return stranger(t, func(c net.Conn) { reset(c) }) }, ReasonChainFailed},
		{"garbage", func(t *testing.T) string { return stranger(t, says("SSH-2.0-x\r\n\r\n")) }, ReasonUnproven},
		{"endless garbage", func(t *testing.T) string {
			return stranger(t, func(c net.Conn) {
				for {
					if _, err := c.Write(make([]byte, 4096)); err != nil {
						return
					}
				}
			})
		}, ReasonChainFailed},
		{"stranger with 200", func(t *testing.T) string { return stranger(t, says("HTTP/1.1 200 OK\r\n\r\n")) }, ReasonUnproven},
		{"stranger with a wrong proof", func(t *testing.T) string {
			return stranger(t, says("HTTP/1.1 200 OK\r\nHalton-Proof: "+newNonce()+"\r\n\r\n"))
		}, ReasonUnproven},
		{"stranger with 503", func(t *testing.T) string {
			return stranger(t, says("HTTP/1.1 503 No\r\nHalton-Reason: learned\r\n\r\n"))
		}, ReasonUnproven},
		{"other key", func(t *testing.T) string {
			addr, _ := serve(t, &Receiver{Key: []byte("other"), Handle: func(_ context.Context, c net.Conn, _ Chain) { c.Close() }})
			return addr
		}, ReasonUnproven},
		{"learned", func(t *testing.T) string {
			addr, _ := receive(t, func(Chain) error { return errors.New("learned") }, shout)
			return addr
		}, "learned"},
		{"refuses with a sentence", func(t *testing.T) string {
			addr, _ := receive(t, func(Chain) error { return errors.New("not today,\r\nsorry") }, shout)
			return addr
		}, ReasonRefused},
		{"dies before its first byte", func(t *testing.T) string {
			addr, _ := receive(t, nil, func(c net.Conn, _ Chain) { io.ReadFull(c, make([]byte, len(first))) })
			return addr
		}, ReasonChainFailed},
		{"resets before its first byte", func(t *testing.T) string {
			addr, _ := receive(t, nil, func(c net.Conn, _ Chain) { io.ReadFull(c, make([]byte, 3)); reset(c) })
			return addr
		}, ReasonChainFailed},
		{"hangs before its first byte", func(t *testing.T) string {
			addr, _ := receive(t, nil, func(c net.Conn, _ Chain) { io.Copy(io.Discard, c) })
			return addr
		}, ReasonChainFailed},
	}
	for _, test := range tests {
		var adjust func(*Edge)
		if strings.Contains(test.name, "never answers") || strings.Contains(test.name, "hangs") {
			adjust = impatient
		}
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.daemon(t), adjust)
			c := w.connect("")
			c.send(first)
			w.expectDirect(c, first, test.reason)
		})
		t.Run(test.name+", pipelined", func(t *testing.T) {
			w := newWorld(t, test.daemon(t), adjust)
			w.expectDirect(w.connect(first), first, test.reason)
		})
	}
}

// A stranger learns where the client wants to go, and nothing more.
func TestStrangerLearnsOnlyTheTarget(t *testing.T) {
	heads := make(chan string, 1)
	daemon := stranger(t, func(conn net.Conn) {
		raw, _, _ := readHead(conn, 64<<10)
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		rest, _ := io.ReadAll(conn)
		heads <- string(raw) + string(rest)
	})
	w := newWorld(t, daemon, nil)
	c := w.dial()
	c.send("CONNECT " + metered + ":443 HTTP/1.1\r\nHost: x\r\nCookie: crumb\r\n" +
		"Proxy-Authorization: Basic bXktcHJvamVjdDpzZWNyZXQ=\r\n\r\n\x16hello") // my-project:secret
	c.expect(established + "\x16hello")

	seen := <-heads
	for _, secret := range []string{"my-project", "bXktcHJvamVjdDpzZWNyZXQ", "Basic", "crumb", "\x16", c.LocalAddr().String(), string(testKey)} {
		if strings.Contains(seen, secret) {
			t.Errorf("a stranger was told %q in %q", secret, seen)
		}
	}
	if !strings.HasPrefix(seen, "CONNECT "+metered+":443 HTTP/1.1\r\n") {
		t.Errorf("a stranger was told %q", seen)
	}
}

// A stranger that passes the handshake on to the real daemon gets a proof
// that is no good for its own address.
func TestRelayedProofIsWorthless(t *testing.T) {
	daemon, _ := receive(t, nil, shout)
	between := stranger(t, func(conn net.Conn) {
		real, err := net.Dial("tcp", daemon)
		if err != nil {
			return
		}
		defer real.Close()
		go func() { io.Copy(real, conn); real.(*net.TCPConn).CloseWrite() }()
		io.Copy(conn, real)
	})
	w := newWorld(t, between, nil)
	w.expectDirect(w.connect("\x16hello"), "\x16hello", ReasonUnproven)
}

func TestOnlyTLSIsChained(t *testing.T) {
	for _, pipelined := range []bool{false, true} {
		t.Run(fmt.Sprintf("pipelined %t", pipelined), func(t *testing.T) {
			leaked := make(chan string, 1)
			daemon, _ := receive(t, nil, func(conn net.Conn, _ Chain) {
				b, _ := io.ReadAll(conn)
				leaked <- string(b)
			})
			w := newWorld(t, daemon, nil)
			var c *client
			if pipelined {
				c = w.connect("GET / HTTP/1.1\r\n\r\n")
			} else {
				c = w.connect("")
				c.send("GET / HTTP/1.1\r\n\r\n")
				if got := <-leaked; got != "" {
					t.Errorf("daemon received %q, want nothing", got)
				}
			}
			w.expectDirect(c, "GET / HTTP/1.1\r\n\r\n", ReasonNotTLS)
			if s := w.Status(); !s.Metering && !pipelined {
				t.Errorf("metering is off for %s, want on", s.OffReason)
			}
		})
	}
}

func TestNoSwitchAfterTheCommitPoint(t *testing.T) {
	daemon, _ := receive(t, nil, func(conn net.Conn, _ Chain) {
		io.ReadFull(conn, make([]byte, 6))
		io.WriteString(conn, "<")
		io.ReadFull(conn, make([]byte, 4))
		reset(conn)
	})
	w := newWorld(t, daemon, nil)
	c := w.connect("\x16hello")
	c.expect("<")
	c.send("more")
	if b, err := io.ReadAll(c.r); err == nil || len(b) > 0 {
		t.Errorf("read %q and %v, want the daemon's reset", b, err)
	}
	s := w.wait("the end", func(s Status) bool { return s.Open == 0 })
	if s.Metered != 1 || s.Passthrough != 0 || len(w.origin.received()) != 0 {
		t.Errorf("counted %+v, origin received %q: want no second attempt", s, w.origin.received())
	}
}

// More than can be kept waits in the client's socket until the daemon speaks.
func TestKeepsNoMoreThanKeepBytes(t *testing.T) {
	t.Run("daemon silent", func(t *testing.T) {
		taken := make(chan int, 1)
		daemon, _ := receive(t, nil, func(conn net.Conn, _ Chain) {
			n, _ := io.Copy(io.Discard, conn)
			taken <- int(n)
		})
		w := newWorld(t, daemon, func(e *Edge) { e.KeepBytes, e.CommitTimeout = 100, 200*time.Millisecond })
		c := w.connect("")
		sent := "\x16" + strings.Repeat("k", 5000)
		c.send(sent)
		w.expectDirect(c, sent, ReasonChainFailed)
		if n := <-taken; n != 100 {
			t.Errorf("daemon was given %d bytes, want 100", n)
		}
	})
	t.Run("daemon answers", func(t *testing.T) {
		sent := "\x16" + strings.Repeat("k", 5000)
		daemon, _ := receive(t, nil, func(conn net.Conn, _ Chain) {
			io.ReadFull(conn, make([]byte, 100))
			io.WriteString(conn, "<")
			n, _ := io.Copy(io.Discard, io.LimitReader(conn, int64(len(sent)-100)))
			fmt.Fprintf(conn, "%d", n)
		})
		w := newWorld(t, daemon, func(e *Edge) { e.KeepBytes = 100 })
		c := w.connect("")
		c.send(sent)
		c.expect("<4901")
	})
}

// A client that leaves before the commit point is not a failed chain.
func TestClientThatLeavesIsAborted(t *testing.T) {
	for _, first := range []string{"", "\x16hello"} {
		daemon, _ := receive(t, nil, func(conn net.Conn, _ Chain) { io.Copy(io.Discard, conn) })
		w := newWorld(t, daemon, func(e *Edge) { e.CommitTimeout = time.Minute })
		c := w.connect(first)
		c.Close()
		s := w.wait("an abort", func(s Status) bool { return s.Aborted == 1 })
		if s.Passthrough != 0 || s.Open != 0 && w.wait("the end", func(s Status) bool { return s.Open == 0 }).Open != 0 {
			t.Errorf("counted %+v, want one abort", s)
		}
		if !s.Metering {
			t.Errorf("metering is off for %s, want on", s.OffReason)
		}
	}
}

// After a failed chain the next client does not wait, and after the recovery
// it is metered again.
func TestDaemonDiesAndReturns(t *testing.T) {
	daemon, stop := receive(t, nil, shout)
	w := newWorld(t, daemon, func(e *Edge) { e.UnhealthyTTL = time.Nanosecond })
	c := w.connect("\x16one")
	c.expect("<\x16one")

	stop()
	down := func(context.Context) error { return errors.New("connection refused") }
	w.health.Store(&down)
	c = w.connect("\x16two")
	c.expect("\x16two")
	s := w.wait("a loss", func(s Status) bool { return s.Lost == 1 })
	if s.Metering || s.OffSince.IsZero() || s.OffReason == "" || s.OffDetail == "" {
		t.Errorf("status %+v does not show the loss", s)
	}

	daemon, _ = receive(t, nil, shout)
	w.setDaemon(daemon)
	w.health.Store(nil)
	c = w.connect("\x16three")
	c.expect("<\x16three")
	if s = w.wait("the recovery", func(s Status) bool { return s.Metered == 2 }); !s.Metering || !s.OffSince.IsZero() {
		t.Errorf("status %+v does not show the recovery", s)
	}
}

func TestNoKeyMeansNoChain(t *testing.T) {
	daemon, _ := receive(t, nil, shout)
	w := newWorld(t, daemon, func(e *Edge) { e.Key = nil })
	w.expectDirect(w.connect("\x16hello"), "\x16hello", ReasonNoKey)
}

func TestRealTLSThroughTheWholeChain(t *testing.T) {
	answer := func(who string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s got %d bytes", who, len(b))
		})
	}
	provider := httptest.NewTLSServer(answer("provider"))
	defer provider.Close()
	meter := httptest.NewUnstartedServer(answer("daemon"))
	meter.TLS = &tls.Config{Certificates: provider.TLS.Certificates}
	conns := &handed{conns: make(chan net.Conn), done: make(chan struct{})}
	meter.Listener.Close()
	meter.Listener = conns
	meter.StartTLS()
	defer meter.Close()

	daemon, stop := serve(t, &Receiver{Key: testKey, Handle: func(_ context.Context, conn net.Conn, _ Chain) {
		select {
		case conns.conns <- conn:
		case <-conns.done:
			conn.Close()
		}
	}})
	w := newWorld(t, daemon, nil)
	w.origin.addr = provider.Listener.Addr().String()

	client := provider.Client()
	client.Transport.(*http.Transport).Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: w.addr})
	post := func(want string) {
		t.Helper()
		resp, err := client.Post("https://"+metered+"/v1/messages", "application/json", strings.NewReader(strings.Repeat("p", 1<<20)))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if b, err := io.ReadAll(resp.Body); err != nil || string(b) != want {
			t.Errorf("read %q (%v), want %q", b, err, want)
		}
	}
	post("daemon got 1048576 bytes")
	stop()
	client.CloseIdleConnections()
	post("provider got 1048576 bytes")
	client.CloseIdleConnections()
}

// handed is a listener for connections that somebody else accepted.
type handed struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}
func (h *handed) Close() error   { h.once.Do(func() { close(h.done) }); return nil }
func (h *handed) Addr() net.Addr { return net.TCPAddrFromAddrPort(netip.AddrPort{}) }
