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

// A tunnel that is silent after its first bytes holds two sockets and what is
// written down about them: no goroutine, no stack. The limit of the heap
// includes both far ends, which are in this process: four sockets.
func TestSilentTunnelsHoldNoGoroutine(t *testing.T) {
	const tunnels, limit = manySleepers + 44, 5 << 10
	for name, chained := range map[string]bool{"direct": false, "chained": true} {
		t.Run(name, func(t *testing.T) {
			var edge *Edge
			released := make(chan struct{}, 1)
			addr := quiet(t, chained, func(e *Edge) {
				edge, e.lull = e, time.Millisecond
				e.Release = func() {
					select {
					case released <- struct{}{}:
					default:
					}
				}
			})
			conn := openTunnel(t, addr)
			edge.waitAsleep(t, 1)
			conn.Close()
			edge.waitAsleep(t, 0)
			before, goroutines := heap(), runtime.NumGoroutine()
			for range tunnels {
				conn := openTunnel(t, addr)
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
		asleep()
		p.upgrade()
		asleep()
		p.tell("b")
		asleep()
		for _, c := range clients {
			c.send("hello")
			c.expect("hello")
		}
	}
}
