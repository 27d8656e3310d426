package proxyedge

import (
	"context"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// These tests run whole connections over in-memory pipes on a fake clock, so
// that what a bad daemon costs is known to the nanosecond.

// piped is an edge whose every connection is a pipe: to the daemon, which
// daemon serves, and to the origin, which echoes.
func piped(t *testing.T, daemon func(net.Conn), adjust func(*Edge)) (client net.Conn, e *Edge) {
	serving := &sync.WaitGroup{}
	e = &Edge{
		Metered: func(host string, _ int) bool { return host == metered },
		Daemon:  func() (Daemon, error) { return here, nil },
		Key:     func() []byte { return testKey },
		Probe:   func(context.Context, Daemon) error { return nil },
		Dial: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			serving.Go(func() { io.Copy(theirs, theirs); theirs.Close() })
			return ours, nil
		},
		dialDaemon: func(context.Context, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			serving.Go(func() { daemon(theirs); theirs.Close() })
			return ours, nil
		},
	}
	if adjust != nil {
		adjust(e)
	}
	e.init()
	client, theirs := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	serving.Go(func() { e.serveConn(ctx, theirs, e.newWeb(), serving) })
	t.Cleanup(func() { client.Close(); cancel(); serving.Wait() })
	return client, e
}

// proven answers the handshake and goes on with then.
func proven(then func(net.Conn)) func(net.Conn) {
	r := &Receiver{Key: testKey}
	return func(conn net.Conn) {
		if _, err := r.handshake(context.Background(), conn); err == nil {
			then(conn)
		}
	}
}

func silent(conn net.Conn) { io.Copy(io.Discard, conn) }

// exchange sends and reads as many bytes back.
func exchange(t *testing.T, conn net.Conn, send, want string) {
	t.Helper()
	if _, err := io.WriteString(conn, send); err != nil {
		t.Fatalf("send %q: %v", send, err)
	}
	got := make([]byte, len(want))
	if n, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("read %q (%v), want %q", got[:n], err, want)
	}
}

const connectHead = "CONNECT " + metered + ":443 HTTP/1.1\r\n\r\n"

func TestWhatABadDaemonCosts(t *testing.T) {
	tests := []struct {
		name          string
		daemon        func(net.Conn)
		adjust        func(*Edge)
		answer, first time.Duration // to the answer, and from the first byte to its echo
	}{
		{"hung", silent, nil, time.Second, 0},
		{"hung, own bound", silent, func(e *Edge) { e.ProofTimeout = 3 * time.Second }, 3 * time.Second, 0},
		{"slow proof", func(c net.Conn) { time.Sleep(999 * time.Millisecond); proven(silent)(c) }, nil, 999 * time.Millisecond, time.Second},
		{"proof too late", func(c net.Conn) { time.Sleep(1001 * time.Millisecond); proven(silent)(c) }, nil, time.Second, 0},
		{"proven, then hung", proven(silent), nil, 0, time.Second},
		{"proven, then hung, own bound", proven(silent), func(e *Edge) { e.CommitTimeout = 5 * time.Second }, 0, 5 * time.Second},
		{"proven, then takes nothing", proven(func(net.Conn) { time.Sleep(time.Hour) }), nil, 0, time.Second},
		{"proven, then gone", proven(func(net.Conn) {}), nil, 0, 0},
		{"hung health", silent, func(e *Edge) { e.Probe = func(ctx context.Context, _ Daemon) error { return hanging(ctx) } }, 250 * time.Millisecond, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, e := piped(t, test.daemon, test.adjust)
				start := time.Now()
				exchange(t, client, connectHead, established)
				if d := time.Since(start); d != test.answer {
					t.Errorf("the answer took %v, want %v", d, test.answer)
				}
				start = time.Now()
				exchange(t, client, "\x16hello", "\x16hello")
				if d := time.Since(start); d != test.first {
					t.Errorf("the first bytes took %v, want %v", d, test.first)
				}
				synctest.Wait()
				if s := e.Status(); s.Lost != 1 || s.Metered != 0 {
					t.Errorf("counted %+v, want one loss", s)
				}
			})
		})
	}
}

// The commit clock runs from the client's last byte: not while the client is
// silent, and anew with each piece.
func TestCommitClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, e := piped(t, proven(func(c net.Conn) {
			io.ReadFull(c, make([]byte, 6))
			time.Sleep(time.Second - 1)
			c.Write([]byte("<"))
			io.Copy(c, c)
		}), nil)
		exchange(t, client, connectHead, established)
		time.Sleep(time.Hour)
		exchange(t, client, "\x16he", "")
		time.Sleep(time.Second - 1)
		exchange(t, client, "llo", "<")
		time.Sleep(time.Hour) // a model that thinks
		exchange(t, client, "more", "more")
		if s := e.Status(); s.Metered != 1 || s.Passthrough != 0 {
			t.Errorf("counted %+v, want one metered tunnel", s)
		}
	})
}

func TestSlowlorisHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := piped(t, silent, nil)
		start := time.Now()
		var dripping sync.WaitGroup
		dripping.Go(func() {
			for {
				if _, err := client.Write([]byte("C")); err != nil {
					return
				}
				time.Sleep(time.Second - 1)
			}
		})
		got, _ := io.ReadAll(client)
		if d := time.Since(start); d != 10*time.Second || string(got[:12]) != "HTTP/1.1 408" {
			t.Errorf("%q after %v, want 408 after 10 s", got, d)
		}
		dripping.Wait()
	})
}

func TestSilentConnectionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := piped(t, silent, func(e *Edge) { e.HeadTimeout = 3 * time.Second })
		start := time.Now()
		got, _ := io.ReadAll(client)
		if d := time.Since(start); d != 3*time.Second || len(got) > 0 {
			t.Errorf("%q after %v, want nothing after 3 s", got, d)
		}
	})
}

func TestDialTimeoutIs504(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, e := piped(t, silent, func(e *Edge) {
			e.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
			e.Metered = nil
		})
		start := time.Now()
		exchange(t, client, connectHead, "HTTP/1.1 504")
		if d := time.Since(start); d != 30*time.Second {
			t.Errorf("answered after %v, want 30 s", d)
		}
		if s := e.Status(); s.Failed != 1 || s.Passthrough != 0 {
			t.Errorf("counted %+v, want one failure", s)
		}
	})
}

// failingListener fails as a process without file descriptors does, until it
// is closed.
type failingListener struct {
	net.Listener
	times  []time.Time
	closed chan struct{}
}

func (l *failingListener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
		l.times = append(l.times, time.Now())
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
}

func (l *failingListener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}
func (l *failingListener) Addr() net.Addr { return &net.TCPAddr{} }

func TestAcceptErrorsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &failingListener{closed: make(chan struct{})}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		if err := new(Edge).Serve(ctx, l); err != nil || time.Since(start) != 10*time.Second {
			t.Errorf("Serve ended with %v after %v, want nil after 10 s", err, time.Since(start))
		}
		// 5, 10, … 640 ms, then once a second.
		if n := len(l.times); n != 17 || l.times[1].Sub(l.times[0]) != 5*time.Millisecond || l.times[n-1].Sub(l.times[n-2]) != time.Second {
			t.Errorf("%d attempts at %v, want a pause that doubles up to a second", n, l.times)
		}
	})
}
