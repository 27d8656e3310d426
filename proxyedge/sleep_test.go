package proxyedge

import (
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// asleep counts the tunnels that sleep.
func (e *Edge) asleep() int {
	e.sleepers.mu.Lock()
	defer e.sleepers.mu.Unlock()
	return len(e.sleepers.beds) / 2
}

// waitAsleep polls, since nothing that can be seen from outside changes.
func (e *Edge) waitAsleep(tb testing.TB, n int) {
	tb.Helper()
	for range 30_000 {
		if e.asleep() == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
	tb.Fatalf("%d tunnels sleep, want %d", e.asleep(), n)
}

// A tunnel that is silent, from its first bytes on or before them, holds two
// sockets and what is written down about them: no goroutine, no stack. The
// limit of the heap includes both far ends, which are in this process: four
// sockets.
func TestSilentTunnelsHoldNoGoroutine(t *testing.T) {
	const tunnels, limit = manySleepers + 44, 5 << 10
	for name, kind := range map[string]struct {
		chained bool
		open    func(testing.TB, string) net.Conn
	}{
		"direct":                {false, openTunnel},
		"chained":               {true, openTunnel},
		"direct, not used yet":  {false, askTunnel},
		"chained, not used yet": {true, askTunnel},
	} {
		t.Run(name, func(t *testing.T) {
			var edge *Edge
			released := make(chan struct{}, 1)
			addr := quiet(t, kind.chained, func(e *Edge) {
				edge, e.lull = e, time.Millisecond
				e.Release = func() {
					select {
					case released <- struct{}{}:
					default:
					}
				}
			})
			conn := kind.open(t, addr)
			edge.waitAsleep(t, 1)
			conn.Close()
			edge.waitAsleep(t, 0)
			before, goroutines := heap(), runtime.NumGoroutine()
			for range tunnels {
				conn := kind.open(t, addr)
				defer conn.Close()
			}
			edge.waitAsleep(t, tunnels)
			<-released
			after := heap()
			per := (int64(after) - int64(before)) / tunnels
			more := runtime.NumGoroutine() - goroutines
			t.Logf("%d bytes for each tunnel, far ends included, and %d goroutines for all", per, more)
			if per > limit {
				t.Errorf("a tunnel holds %d bytes, want at most %d", per, limit)
			}
			if more > tunnels/10 {
				t.Errorf("%d tunnels hold %d goroutines", tunnels, more)
			}
		})
	}
}

// Whatever happens to a sleeping tunnel happens as if it had been awake.
func TestSleepersWake(t *testing.T) {
	read := func(conn net.Conn, want string) error {
		got := make([]byte, len(want))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
			return errors.Join(errors.New("read "+string(got)+", want "+want), err)
		}
		return nil
	}
	for name, act := range map[string]func(w *world, c *client, far net.Conn){
		"both speak, again and again": func(w *world, c *client, far net.Conn) {
			for range 5 {
				w.waitAsleep(t, 1)
				c.send("up")
				if err := read(far, "up"); err != nil {
					t.Error(err)
				}
				w.waitAsleep(t, 1)
				far.Write([]byte("down"))
				c.expect("down")
			}
		},
		"the client ends": func(w *world, c *client, far net.Conn) {
			c.CloseWrite()
			if b, err := io.ReadAll(far); err != nil || len(b) > 0 {
				t.Errorf("the peer read %q, %v", b, err)
			}
			far.Write([]byte("bye"))
			c.expect("bye")
		},
		"the peer ends": func(w *world, c *client, far net.Conn) {
			far.(*net.TCPConn).CloseWrite()
			if b, err := io.ReadAll(c.r); err != nil || len(b) > 0 {
				t.Errorf("the client read %q, %v", b, err)
			}
			c.send("bye")
			if err := read(far, "bye"); err != nil {
				t.Error(err)
			}
		},
		"the client resets": func(w *world, c *client, far net.Conn) {
			reset(c.TCPConn)
			if _, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the peer read: %v, want a reset", err)
			}
		},
		"the peer resets": func(w *world, c *client, far net.Conn) {
			reset(far)
			if _, err := c.r.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client read: %v, want a reset", err)
			}
		},
		"the edge ends": func(w *world, c *client, far net.Conn) {
			w.stop()
			if _, err := c.r.ReadByte(); err == nil {
				t.Error("the client's connection is open")
			}
			if _, err := far.Read(make([]byte, 1)); err == nil {
				t.Error("the peer's connection is open")
			}
		},
		"the poller breaks": func(w *world, c *client, far net.Conn) {
			w.sleepers.mu.Lock()
			w.sleepers.fail(errors.ErrUnsupported)
			w.sleepers.mu.Unlock()
			w.sleepers.wakeAll()
			c.send("up")
			if err := read(far, "up"); err != nil {
				t.Error(err)
			}
			w.waitAsleep(t, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			quick := func(e *Edge) { e.lull = time.Millisecond }
			far, over := make(chan net.Conn, 1), make(chan struct{}, 1)
			peer := func(conn net.Conn) {
				io.ReadFull(conn, make([]byte, 1))
				conn.Write([]byte("<"))
				far <- conn
				<-over
			}
			try := func(t *testing.T, w *world) {
				defer func() { over <- struct{}{} }()
				c := w.connect("\x16")
				c.expect("<")
				conn := <-far
				conn.SetDeadline(time.Now().Add(time.Minute)) // ends a hung test
				w.waitAsleep(t, 1)
				act(w, c, conn)
				c.Close()
				conn.Close()
				w.wait("the end", func(s Status) bool { return s.Open == 0 })
				if n := w.asleep(); n != 0 {
					t.Errorf("%d tunnels sleep after their end", n)
				}
			}
			t.Run("direct", func(t *testing.T) {
				w := newWorld(t, "", quick)
				w.origin.addr = stranger(t, peer)
				try(t, w)
			})
			t.Run("chained", func(t *testing.T) {
				daemon, _ := receive(t, nil, func(conn net.Conn, _ Chain) { peer(conn) })
				try(t, newWorld(t, daemon, quick))
			})
		})
	}
}

// An upgrade takes sleeping tunnels along, and one that fails leaves them as
// they were.
func TestSleepersAreHandedOver(t *testing.T) {
	p, _ := echoWorld(t)
	clients := []*client{p.connect(metered), p.connect(elsewhere)}
	for _, c := range clients {
		c.send("\x16")
		c.expect("\x16")
	}
	asleep := func() {
		for range 10_000 {
			if p.tell("s"); p.Asleep == len(clients) {
				return
			}
		}
		t.Fatalf("%d tunnels sleep, want %d", p.Asleep, len(clients))
	}
	for range 3 {
		unused := p.connect(metered)
		clients = append(clients, unused)
		asleep()
		p.upgrade()
		asleep()
		p.tell("b")
		asleep()
		unused.send("\x16")
		unused.expect("\x16")
		for _, c := range clients {
			c.send("hello")
			c.expect("hello")
		}
	}
}

// A tunnel to the daemon whose client has not begun sleeps too, and everything
// that comes before the commit point comes as if it had been awake.
func TestSleepersBeforeTheCommitPoint(t *testing.T) {
	for name, act := range map[string]func(w *world, c *client, daemon net.Conn){
		"the client begins": func(w *world, c *client, daemon net.Conn) {
			c.send("\x16hello")
			c.expect("<\x16hello")
			if s := w.Status(); s.Metered != 1 || s.Passthrough != 0 {
				t.Errorf("counted %+v, want one metered", s)
			}
		},
		"the client speaks no TLS": func(w *world, c *client, daemon net.Conn) {
			c.send("\x17hello")
			w.expectDirect(c, "\x17hello", ReasonNotTLS)
		},
		"the client begins, and the daemon dies": func(w *world, c *client, daemon net.Conn) {
			c.send("\x16die")
			w.expectDirect(c, "\x16die", ReasonChainFailed)
		},
		"the client ends": func(w *world, c *client, daemon net.Conn) {
			c.CloseWrite()
			w.wait("the end", func(s Status) bool { return s.Aborted == 1 })
		},
		"the client resets": func(w *world, c *client, daemon net.Conn) {
			reset(c.TCPConn)
			w.wait("the end", func(s Status) bool { return s.Aborted == 1 })
		},
		"the daemon ends": func(w *world, c *client, daemon net.Conn) {
			daemon.(*net.TCPConn).CloseWrite()
			w.wait("a passthrough", func(s Status) bool { return s.Passthrough == 1 })
			c.send("\x16hello")
			w.expectDirect(c, "\x16hello", ReasonChainFailed)
		},
		"the daemon resets": func(w *world, c *client, daemon net.Conn) {
			reset(daemon)
			w.wait("a passthrough", func(s Status) bool { return s.Passthrough == 1 })
			c.send("\x16hello")
			w.expectDirect(c, "\x16hello", ReasonChainFailed)
		},
		"the daemon begins": func(w *world, c *client, daemon net.Conn) {
			daemon.Write([]byte("first"))
			c.expect("first")
			c.send("\x16hello")
			c.expect("<\x16hello")
		},
		"the edge ends": func(w *world, c *client, daemon net.Conn) {
			w.stop()
			if _, err := c.r.ReadByte(); err == nil {
				t.Error("the client's connection is open")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			daemon := make(chan net.Conn, 1)
			addr, _ := receive(t, nil, func(conn net.Conn, c Chain) {
				daemon <- conn
				b := make([]byte, 100)
				for {
					n, err := conn.Read(b)
					if err != nil || string(b[:n]) == "\x16die" {
						return
					}
					conn.Write(append([]byte("<"), b[:n]...))
				}
			})
			w := newWorld(t, addr, func(e *Edge) { e.lull = time.Millisecond })
			c := w.connect("")
			w.waitAsleep(t, 1)
			act(w, c, <-daemon)
			c.Close()
			w.wait("the end", func(s Status) bool { return s.Open == 0 })
			if n := w.asleep(); n != 0 {
				t.Errorf("%d tunnels sleep after their end", n)
			}
		})
	}
}

// From the client's first byte or its end on the daemon's clock runs, which a
// lull would start anew.
func TestNoLullWhileTheClockRuns(t *testing.T) {
	for name, begin := range map[string]func(c *client){
		"the client begins": func(c *client) { c.send("\x16") },
		"the client ends":   func(c *client) { c.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			heard, over := make(chan bool), make(chan bool)
			addr, _ := receive(t, nil, func(conn net.Conn, _ Chain) {
				conn.Read(make([]byte, 1))
				heard <- true
				<-over
			})
			w := newWorld(t, addr, awake)
			c := w.connect("")
			begin(c)
			<-heard
			w.sleepers.mu.Lock()
			watched := len(w.sleepers.awake)
			w.sleepers.mu.Unlock()
			close(over)
			if watched != 0 {
				t.Error("a tunnel may fall asleep while its daemon's clock runs")
			}
		})
	}
}
