package proxyedge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// chaos is a daemon whose state changes while it is being used.
type chaos struct {
	state atomic.Int32
	mu    sync.Mutex
	stop  func() // of the running receiver
	w     *world
}

const (
	healthy  = iota
	killed   // nobody listens
	hung     // accepts and never answers
	slow     // answers the handshake late
	mute     // admits and never says a byte
	dying    // takes the first bytes and resets
	garbled  // answers garbage
	stranged // 200 to everything
	states
)

// set replaces the daemon by one in another state, on another port.
func (c *chaos) set(t *testing.T, state int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stop != nil {
		c.stop()
	}
	c.state.Store(state)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Error(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	c.stop = func() { cancel(); <-done }
	c.w.setDaemon(ln.Addr().String())
	until := func(conn net.Conn) func() bool { return context.AfterFunc(ctx, func() { conn.Close() }) }
	switch state {
	case killed:
		ln.Close()
		close(done)
	case hung, garbled, stranged:
		go func() {
			defer close(done)
			var serving sync.WaitGroup
			defer serving.Wait()
			defer context.AfterFunc(ctx, func() { ln.Close() })()
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				serving.Go(func() {
					defer conn.Close()
					defer until(conn)()
					switch state {
					case garbled:
						io.WriteString(conn, "\x00\xff garbage\r\n\r\n")
					case stranged:
						io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
					}
					io.Copy(io.Discard, conn)
				})
			}
		}()
	default:
		r := &Receiver{Key: testKey, Handle: func(_ context.Context, conn net.Conn, ch Chain) {
			defer conn.Close()
			defer until(conn)()
			switch state {
			case mute:
				io.Copy(io.Discard, conn)
			case dying:
				conn.Read(make([]byte, 3))
				reset(conn)
			default:
				if ch.Plain {
					serveHTTP(conn, ch, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
						rw.Header().Set("Served-By", "daemon")
						body, _ := io.ReadAll(r.Body)
						rw.Write(body)
					}))
					return
				}
				shout(conn, ch)
			}
		}}
		if state == slow {
			r.Admit = func(Chain) error { time.Sleep(30 * time.Millisecond); return nil }
		}
		go func() { defer close(done); r.Serve(ctx, ln) }()
	}
}

// probe is as honest as a health check that knows only half: it sees that
// nobody listens, and nothing else.
func (c *chaos) probe(context.Context) error {
	if c.state.Load() == killed {
		return errors.New("connection refused")
	}
	return nil
}

// begin changes the daemon at random until the returned function is called.
func (c *chaos) begin(t *testing.T, seed uint64) (end func()) {
	var changing sync.WaitGroup
	stop := make(chan struct{})
	changing.Go(func() {
		random := rand.New(rand.NewPCG(seed, 0))
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(random.IntN(30)) * time.Millisecond):
				c.set(t, random.Int32N(states))
			}
		}
	})
	return func() { close(stop); changing.Wait() }
}

// While the daemon is killed, hung, slow, replaced by strangers and restarted
// in random order, no connection fails and none reaches the origin twice. The
// number of connections bounds the test, not the time.
func TestChaos(t *testing.T) {
	total, workers := 10_000, 24
	if testing.Short() {
		total = 1000
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := newWorld(t, "", func(e *Edge) {
		e.HealthyTTL, e.UnhealthyTTL = 20*time.Millisecond, 4*time.Millisecond
		e.ProofTimeout, e.CommitTimeout = 60*time.Millisecond, 60*time.Millisecond
	})
	c := &chaos{w: w}
	probe := c.probe
	w.health.Store(&probe)
	c.set(t, healthy)

	var next, metered atomic.Int64
	var clients sync.WaitGroup
	for range workers {
		clients.Go(func() {
			for {
				n := next.Add(1)
				if n > int64(total) || t.Failed() {
					return
				}
				if err := chaosClient(w.addr, fmt.Sprintf("\x16%08d", n), n%2 == 0, &metered); err != nil {
					t.Errorf("connection %d, daemon in state %d: %v", n, c.state.Load(), err)
				}
			}
		})
	}
	stop := c.begin(t, seed)
	clients.Wait()
	stop()

	seen := make(map[string]int)
	for _, got := range w.origin.received() {
		if got != "" {
			seen[got]++
		}
	}
	for got, times := range seen {
		if times > 1 || len(got) != 2*9 || got[:9] != got[9:] {
			t.Errorf("origin received %q %d times", got, times)
		}
	}
	s := w.wait("the last tunnel", func(s Status) bool { return s.Open == 0 })
	t.Logf("%d of %d metered; %v", metered.Load(), total, s.Reasons)
	if s.Failed != 0 || int(s.Metered) != int(metered.Load()) || int(s.Metered+s.Passthrough) != total || len(seen) != int(s.Passthrough) {
		t.Errorf("%d connections, %d metered, origin saw %d, counted %+v", total, metered.Load(), len(seen), s)
	}

	// It recovers by itself, and at once.
	c.set(t, healthy)
	for range 1000 {
		before := metered.Load()
		if err := chaosClient(w.addr, "\x16recovery", false, &metered); err != nil {
			t.Fatal(err)
		}
		if metered.Load() > before {
			c.stop()
			return
		}
		time.Sleep(w.UnhealthyTTL)
	}
	c.stop()
	t.Error("not metered again after the recovery")
}

// chaosClient sends text twice and reads it back, from the origin or, with a
// '<' in front, from the daemon. A daemon that is replaced after its first
// byte may cut the tunnel: that is its account, not the edge's.
func chaosClient(addr, text string, pipelined bool, metered *atomic.Int64) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	head := connectHead
	if pipelined {
		head += text
	}
	if _, err := io.WriteString(conn, head); err != nil {
		return err
	}
	answer := make([]byte, len(established))
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != established {
		return fmt.Errorf("answer %q: %w", answer, err)
	}
	if !pipelined {
		if _, err := io.WriteString(conn, text); err != nil {
			return err
		}
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(conn, first); err != nil {
		return fmt.Errorf("first byte: %w", err)
	}
	if first[0] == '<' {
		metered.Add(1)
		return nil
	}
	echo := make([]byte, 2*len(text))
	echo[0] = first[0]
	if _, err := io.ReadFull(conn, echo[1:len(text)]); err != nil {
		return fmt.Errorf("echo: %w", err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, echo[len(text):]); err != nil {
		return fmt.Errorf("second echo: %w", err)
	}
	if string(echo) != text+text {
		return fmt.Errorf("echo %q, want %q twice", echo, text)
	}
	return nil
}
