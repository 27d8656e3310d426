package proxyedge

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// quiet is an edge in front of an origin, or a daemon, that answers each
// connection once and then holds it without a goroutine or a buffer of its
// own, so that what is measured is the edge's.
func quiet(tb testing.TB, chained bool, adjust func(*Edge)) (addr string) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	tb.Cleanup(func() { cancel(); serving.Wait() })
	listen := func() net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		return ln
	}

	var mu sync.Mutex
	var held []net.Conn
	keep := func(conn net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		held = append(held, conn)
	}
	hold := func(conn net.Conn) {
		b := buffers.Get().(*buffer)
		defer buffers.Put(b)
		n, err := conn.Read(b[:])
		if err == nil {
			_, err = conn.Write(b[:n])
		}
		if err != nil {
			conn.Close()
			return
		}
		keep(conn)
	}
	tb.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range held {
			conn.Close()
		}
	})

	far, port := listen(), listen()
	edge := &Edge{Grace: -1, Key: func() []byte { return testKey }}
	if chained {
		edge.Metered = func(string, int) bool { return true }
		edge.Daemon = func() (Daemon, error) { return Daemon{Proxy: far.Addr().String()}, nil }
		edge.Probe = func(context.Context, Daemon) error { return nil }
		r := &Receiver{Key: testKey, Handle: func(_ context.Context, conn net.Conn, c Chain) {
			if c.Host == quietHost {
				keep(conn)
				return
			}
			hold(conn)
		}}
		serving.Go(func() { r.Serve(ctx, far) })
	} else {
		edge.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, far.Addr().String())
		}
		serving.Go(func() { accept(ctx, far, slog.New(slog.DiscardHandler), hold) })
	}
	adjust(edge)
	serving.Go(func() { edge.Serve(ctx, port) })
	return port.Addr().String()
}

// awake keeps tunnels from sleeping while a test lasts.
func awake(e *Edge) { e.lull = time.Hour }

// quietHost is a host that nobody speaks to.
const quietHost = "quiet.example"

// askTunnel opens a tunnel to quietHost and says nothing in it.
func askTunnel(tb testing.TB, addr string) net.Conn {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := io.WriteString(conn, "CONNECT "+quietHost+":443 HTTP/1.1\r\n\r\n"); err != nil {
		tb.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, len(established))); err != nil {
		tb.Fatal(err)
	}
	return conn
}

// openTunnel opens a tunnel and waits for its first bytes to come back.
func openTunnel(tb testing.TB, addr string) net.Conn {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	const first = "\x16first"
	if _, err := io.WriteString(conn, connectHead+first); err != nil {
		tb.Fatal(err)
	}
	b := make([]byte, len(established)+len(first))
	if _, err := io.ReadFull(conn, b); err != nil || !strings.HasSuffix(string(b), first) {
		tb.Fatalf("read %q: %v", b, err)
	}
	return conn
}

// heap is what is alive after the pools have been emptied.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // a sync.Pool gives its content up at the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// An idle tunnel owns no buffer: two of 64 KiB each would exceed this limit
// eightfold. The limit includes both far ends, which are in this process.
func TestIdleTunnelsOwnNoBuffers(t *testing.T) {
	const tunnels, limit = 200, 16 << 10
	for name, chained := range map[string]bool{"direct": false, "chained": true} {
		t.Run(name, func(t *testing.T) {
			addr := quiet(t, chained, awake)
			openTunnel(t, addr).Close()
			before, fdsBefore := heap(), descriptors()
			conns := make([]net.Conn, tunnels)
			for i := range conns {
				conns[i] = openTunnel(t, addr)
				defer conns[i].Close()
			}
			after, fdsAfter := heap(), descriptors()
			per := (int64(after) - int64(before)) / tunnels
			t.Logf("%d bytes, %.2f descriptors for each tunnel, far ends included", per, float64(fdsAfter-fdsBefore)/tunnels)
			if per > limit {
				t.Errorf("a tunnel holds %d bytes, want at most %d", per, limit)
			}
			// Two of the edge's, two of the far ends'; a few come and go.
			if fdsAfter-fdsBefore > 4*tunnels+20 {
				t.Errorf("%d tunnels hold %d descriptors", tunnels, fdsAfter-fdsBefore)
			}
		})
	}
}

// descriptors counts this process's open files, on Linux and macOS alike.
func descriptors() int {
	files, err := os.ReadDir("/dev/fd")
	if err != nil {
		return 0
	}
	return len(files)
}

// A client may be silent for hours after its first bytes, such as a large
// ClientHello, and what was kept of them is of no use once the daemon answers.
func TestCommittedTunnelsKeepNothing(t *testing.T) {
	const tunnels, size, limit = 100, 15 << 10, 8 << 10
	alive := func() int64 {
		heap()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	addr := quiet(t, true, awake)
	openTunnel(t, addr).Close()
	before := alive()
	for range tunnels {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, connectHead+"\x16"+strings.Repeat("x", size)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, len(established)+1)); err != nil {
			t.Fatal(err)
		}
	}
	if per := (alive() - before) / tunnels; per > limit {
		t.Errorf("a tunnel holds %d bytes, want at most %d", per, limit)
	}
}

func BenchmarkTunnelSetup(b *testing.B) {
	for name, chained := range map[string]bool{"direct": false, "chained": true} {
		b.Run(name, func(b *testing.B) {
			addr := quiet(b, chained, awake)
			for b.Loop() {
				openTunnel(b, addr).Close()
			}
		})
	}
}

func BenchmarkIdleTunnel(b *testing.B) {
	for name, chained := range map[string]bool{"direct": false, "chained": true} {
		b.Run(name, func(b *testing.B) {
			const tunnels = 500
			var edge *Edge
			addr := quiet(b, chained, func(e *Edge) { e.lull, edge = time.Millisecond, e })
			for b.Loop() {
				before := heap()
				conns := make([]net.Conn, tunnels)
				for i := range conns {
					conns[i] = openTunnel(b, addr)
				}
				edge.waitAsleep(b, tunnels)
				b.ReportMetric((float64(heap())-float64(before))/tunnels, "B/tunnel")
				for _, conn := range conns {
					conn.Close()
				}
			}
		})
	}
}

func BenchmarkRelay(b *testing.B) {
	w := &Edge{Grace: -1}
	sink, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer sink.Close()
	go func() {
		for {
			conn, err := sink.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(io.Discard, conn); conn.Close() }()
		}
	}()
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.Serve(ctx, port) }()
	defer func() { cancel(); <-done }()

	conn, err := net.Dial("tcp", port.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "CONNECT "+sink.Addr().String()+" HTTP/1.1\r\n\r\n")
	io.ReadFull(conn, make([]byte, len(established)))
	block := make([]byte, 1<<20)
	b.SetBytes(int64(len(block)))
	for b.Loop() {
		if _, err := conn.Write(block); err != nil {
			b.Fatal(err)
		}
	}
}
