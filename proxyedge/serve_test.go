package proxyedge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnswersToBadRequests(t *testing.T) {
	w := newWorld(t, "", nil)
	tests := []struct{ name, request, want string }{
		{"garbage", "\x16\x03\x01 not for us\r\n\r\n", "400"},
		{"bare LF", "CONNECT a:443 HTTP/1.1\nHost: a\r\n\r\n", "400"},
		{"smuggling", "CONNECT a:443 HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
		{"no port", "CONNECT a HTTP/1.1\r\n\r\n", "400"},
		{"IPv6 without brackets", "CONNECT ::1:443 HTTP/1.1\r\n\r\n", "400"},
		{"origin form", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "404"},
		{"absolute form to this machine", "GET http://127.0.0.1/ HTTP/1.1\r\nHost: a\r\n\r\n", "403"},
		{"with a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("b", 100000), "404"},
		{"malformed, with a body", "POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("b", 100000), "400"},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"},
		{"passed an edge before", "CONNECT a:443 HTTP/1.1\r\nHalton-Nonce: " + newNonce() + "\r\n\r\n", "508"},
		{"too large", "CONNECT a:443 HTTP/1.1\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", "431"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := dialClient(t, w.addr)
			c.send(test.request)
			answer, err := io.ReadAll(c.r)
			if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 "+test.want+" ")) {
				t.Errorf("answer %q (%v), want %s", answer, err, test.want)
			}
			if !bytes.Contains(answer, []byte("\r\nConnection: close\r\n")) {
				t.Errorf("answer %q does not announce the close", answer)
			}
		})
	}
	if got := w.origin.received(); got != nil {
		t.Errorf("origin received %q", got)
	}
}

// A head as large as can be is taken, and the byte behind it is not lost.
func TestLargestHead(t *testing.T) {
	w := newWorld(t, "", nil)
	head := "CONNECT a:443 HTTP/1.1\r\nX: "
	head += strings.Repeat("x", 64<<10-len(head)-4) + "\r\n\r\n"
	c := w.dial()
	c.send(head + "\x16")
	c.expect(established + "\x16")
}

func TestOwnAddressesAreRefused(t *testing.T) {
	daemon := closedPort(t)
	_, daemonPort, _ := net.SplitHostPort(daemon)
	api := closedPort(t)
	_, apiPort, _ := net.SplitHostPort(api)
	other := stranger(t, func(conn net.Conn) { io.Copy(conn, conn) })
	_, otherPort, _ := net.SplitHostPort(other)
	forbidden := stranger(t, func(conn net.Conn) { io.Copy(conn, conn) })
	_, forbiddenPort, _ := net.SplitHostPort(forbidden)

	hosts := []string{"127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST.", "0.0.0.0", "[::]", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:0:0]"}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, err := netip.ParsePrefix(a.String()); err == nil && !ip.Addr().IsLinkLocalUnicast() {
			hosts = append(hosts, strings.TrimSuffix(netip.AddrPortFrom(ip.Addr(), 1).String(), ":1"))
		}
	}

	adjust := func(e *Edge) {
		e.Dial = nil
		e.Daemon = func() (Daemon, error) { return Daemon{Proxy: daemon, HealthURL: "http://" + api + "/health"}, nil }
		e.Forbidden = func(a netip.AddrPort) bool { return a.String() == forbidden }
	}
	through := map[string]func(*Edge){
		"directly": adjust,
		"through a dialer of its own": func(e *Edge) {
			adjust(e)
			e.Dial = new(net.Dialer).DialContext
		},
		"through a parent on this machine": func(e *Edge) {
			adjust(e)
			// Handing a name of ours over would be the mistake.
			e.Dial = func(_ context.Context, _, address string) (net.Conn, error) {
				host, _, _ := net.SplitHostPort(address)
				if _, err := netip.ParseAddr(host); err != nil && !strings.HasSuffix(address, ":"+otherPort) {
					t.Errorf("%s was handed to the parent", address)
				}
				return net.Dial("tcp", other)
			}
		},
	}
	for name, adjust := range through {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "", adjust)
			_, ownPort, _ := net.SplitHostPort(w.addr)
			refused := []string{"127.0.0.1:" + forbiddenPort}
			for _, host := range hosts {
				refused = append(refused, host+":"+ownPort, host+":"+daemonPort, host+":"+apiPort)
			}
			for _, target := range refused {
				c := dialClient(t, w.addr)
				c.send("CONNECT " + target + " HTTP/1.1\r\n\r\n")
				if answer := c.status(); !strings.HasPrefix(answer, "HTTP/1.1 403 ") {
					t.Errorf("CONNECT %s: %q, want 403", target, answer)
				}
			}
			c := dialClient(t, w.addr)
			c.send("CONNECT localhost:" + otherPort + " HTTP/1.1\r\n\r\n")
			c.expect(established)
			if s := w.Status(); s.Failed != 0 {
				t.Errorf("counted %+v: a refusal is no failure", s)
			}
		})
	}
}

func TestUnreachableDestination(t *testing.T) {
	w := newWorld(t, "", func(e *Edge) { e.Dial = nil })
	c := w.dial()
	c.send("CONNECT " + closedPort(t) + " HTTP/1.1\r\n\r\n")
	answer, _ := io.ReadAll(c.r)
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 502 ")) || !bytes.Contains(answer, []byte("refused")) {
		t.Errorf("%q, want 502 and why", answer)
	}
	if s := w.Status(); s.Failed != 1 || s.Passthrough != 0 {
		t.Errorf("counted %+v, want one failure", s)
	}
}

func TestIdentify(t *testing.T) {
	withKey := newWorld(t, "", nil)
	without := newWorld(t, "", func(e *Edge) { e.Key = nil })
	answers := func(s string) string {
		return stranger(t, func(conn net.Conn) { readHead(conn, 1<<10); io.WriteString(conn, s) })
	}
	between := stranger(t, func(conn net.Conn) {
		real, err := net.Dial("tcp", withKey.addr)
		if err != nil {
			return
		}
		defer real.Close()
		go func() { io.Copy(real, conn); real.(*net.TCPConn).CloseWrite() }()
		io.Copy(conn, real)
	})
	tests := []struct {
		name, addr string
		key        []byte
		want       error
	}{
		{"ours", withKey.addr, testKey, nil},
		{"other key", withKey.addr, []byte("other"), ErrStranger},
		{"no key there", without.addr, testKey, ErrStranger},
		{"no key here", withKey.addr, nil, ErrStranger},
		{"nobody", closedPort(t), testKey, syscall.ECONNREFUSED},
		{"204 without proof", answers("HTTP/1.1 204 No Content\r\n\r\n"), testKey, ErrStranger},
		{"204 with a wrong proof", answers("HTTP/1.1 204 No Content\r\nHalton-Proof: 00\r\n\r\n"), testKey, ErrStranger},
		{"garbage", answers("220 mail.example.com ESMTP\r\n\r\n"), testKey, ErrStranger},
		{"closes", answers(""), testKey, ErrStranger},
		{"passes the challenge on", between, testKey, ErrStranger},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := Identify(t.Context(), test.addr, test.key); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
	t.Run("hung", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		hung := stranger(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
		if err := Identify(ctx, hung, testKey); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrStranger) {
			t.Errorf("%v, want the deadline and nothing about a stranger", err)
		}
	})
}

func TestServeEnds(t *testing.T) {
	t.Run("without tunnels at once", func(t *testing.T) {
		w := newWorld(t, "", func(e *Edge) { e.Grace = time.Hour })
		w.stop()
		if _, err := net.Dial("tcp", w.addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial: %v, want refused", err)
		}
	})
	t.Run("when the last tunnel ends", func(t *testing.T) {
		w := newWorld(t, "", func(e *Edge) { e.Grace = time.Hour })
		c := w.connect("\x16one")
		c.expect("\x16one")
		ended := make(chan struct{})
		go func() { w.stop(); close(ended) }()
		for { // until the port is closed
			conn, err := net.Dial("tcp", w.addr)
			if err != nil {
				break
			}
			conn.Close()
		}
		c.send("two")
		c.expect("two")
		c.Close()
		<-ended
	})
	t.Run("by its bound", func(t *testing.T) {
		daemon, _ := receive(t, nil, shout)
		w := newWorld(t, daemon, func(e *Edge) { e.Grace = 10 * time.Millisecond })
		chained, idle, silent := w.connect("\x16one"), w.dial(), w.connect("")
		chained.expect("<\x16one")
		w.stop()
		for _, c := range []*client{chained, idle, silent} {
			if n, err := c.r.Read(make([]byte, 1)); err == nil {
				t.Errorf("read %d bytes after the end", n)
			}
		}
	})
	t.Run("in the middle of a fallback", func(t *testing.T) {
		daemon, _ := receive(t, nil, func(conn net.Conn, _ Chain) { io.ReadFull(conn, make([]byte, 4)) })
		dialling := make(chan struct{})
		w := newWorld(t, daemon, func(e *Edge) {
			e.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
				close(dialling)
				<-ctx.Done()
				return nil, ctx.Err()
			}
		})
		w.connect("\x16one")
		<-dialling
		w.stop()
	})
	t.Run("when its listener is closed by somebody else", func(t *testing.T) {
		ln := listen(t)
		ln.Close()
		if err := new(Edge).Serve(t.Context(), ln); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: %v, want net.ErrClosed", err)
		}
	})
}

func TestPanicEndsOneConnection(t *testing.T) {
	w := newWorld(t, "", func(e *Edge) {
		e.Metered = func(host string, _ int) bool {
			if host == "panic" {
				panic("a bug")
			}
			return false
		}
	})
	c := w.dial()
	c.send("CONNECT panic:443 HTTP/1.1\r\n\r\n")
	if b, _ := io.ReadAll(c.r); len(b) > 0 {
		t.Errorf("read %q", b)
	}
	c = w.connect("\x16")
	c.expect("\x16")
}

func TestStatusSurvivesARestart(t *testing.T) {
	w := newWorld(t, "", nil)
	c := w.connect("\x16hello")
	c.expect("\x16hello")
	c.Close()
	before := w.wait("the end", func(s Status) bool { return s.Open == 0 && s.BytesDown == 6 })
	text, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	var read Status
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	// What was open in the program before has ended with it.
	host := read.Hosts[metered]
	host.Open = 3
	read.Open, read.Hosts[metered] = 3, host

	after := newWorld(t, "", func(e *Edge) { e.Restore(read) })
	if got, err := json.Marshal(after.Status()); err != nil || !bytes.Equal(got, text) {
		t.Errorf("restored %s (%v), want %s", got, err, text)
	}
	c = after.connect("\x16hello")
	c.expect("\x16hello")
	s := after.wait("the second", func(s Status) bool { return s.Lost == 2 })
	if !s.OffSince.Equal(before.OffSince) || s.Hosts[metered].Lost != 2 {
		t.Errorf("counted %+v on top of %+v", s, before)
	}
	if read.Hosts[metered].Lost != 1 {
		t.Error("the restored status was changed")
	}
}

// Other people's hosts are counted, and not named.
func TestHostsAreMeteredOnesOnly(t *testing.T) {
	w := newWorld(t, "", nil)
	c := w.dial()
	c.send("CONNECT private.example.org:443 HTTP/1.1\r\n\r\n")
	c.expect(established)
	s := w.wait("a passthrough", func(s Status) bool { return s.Passthrough == 1 })
	if text, _ := json.Marshal(s); bytes.Contains(text, []byte("private")) || s.Lost != 0 || s.Reasons[ReasonNotMetered] != 1 {
		t.Errorf("status %s", text)
	}
}

func TestStatusIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c counts
		for i := range 10_000 {
			tally{counts: &c, host: fmt.Sprint("h", i), metered: true}.passthrough(&unmetered{reason: fmt.Sprint("r", i)})
		}
		s := c.snapshot()
		if len(s.Hosts) != maxHosts+1 || s.Hosts[otherHost].Lost != 10_000-maxHosts || s.Lost != 10_000 {
			t.Errorf("%d hosts, %d of them other, %d lost", len(s.Hosts), s.Hosts[otherHost].Lost, s.Lost)
		}
		if len(s.Reasons) != maxReasons+1 || len(s.Hosts[otherHost].Reasons) != maxReasons+1 {
			t.Errorf("%d reasons, %d of other", len(s.Reasons), len(s.Hosts[otherHost].Reasons))
		}
	})
}
