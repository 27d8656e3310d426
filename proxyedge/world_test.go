package proxyedge

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var testKey = []byte("a key of thirty-two bytes, or so")

// metered is the name that the tests' edges meter; their Dial takes every
// name to the origin.
const metered = "api.example.com"

// world is an edge on a real port, with an origin behind its direct path.
type world struct {
	*Edge
	t      *testing.T
	addr   string
	origin *origin
	daemon atomic.Pointer[Daemon]
	health atomic.Pointer[func(context.Context) error]
	stop   func()
}

// newWorld starts an edge whose daemon is the one at address, if any. adjust
// may change the edge before it serves.
func newWorld(t *testing.T, address string, adjust func(*Edge)) *world {
	t.Helper()
	w := &world{t: t, origin: newOrigin(t)}
	w.setDaemon(address)
	w.Edge = &Edge{
		Metered: func(host string, port int) bool { return host == metered && port == 443 },
		Daemon: func() (Daemon, error) {
			if d := w.daemon.Load(); d != nil {
				return *d, nil
			}
			return Daemon{}, fmt.Errorf("no daemon has ever run")
		},
		Key: func() []byte { return testKey },
		Probe: func(ctx context.Context, _ Daemon) error {
			if f := w.health.Load(); f != nil {
				return (*f)(ctx)
			}
			return nil
		},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, w.origin.addr)
		},
		// A busy machine is no bad daemon here; what hangs sets its own.
		ProofTimeout:  time.Minute,
		CommitTimeout: time.Minute,
		ProbeTimeout:  time.Minute,
		Grace:         -1,
	}
	if adjust != nil {
		adjust(w.Edge)
	}
	w.addr, w.stop = serve(t, w.Edge)
	return w
}

func (w *world) setDaemon(address string) {
	if address == "" {
		w.daemon.Store(nil)
		return
	}
	w.daemon.Store(&Daemon{Proxy: address, HealthURL: "http://127.0.0.1:9/health"})
}

// serve runs an edge or a receiver until the test ends.
func serve(t *testing.T, s interface {
	Serve(context.Context, net.Listener) error
},
) (addr string, stop func()) {
	t.Helper()
	ln := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return ln.Addr().String(), stop
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	noLeaks(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	ln := listen(t)
	defer ln.Close()
	return ln.Addr().String()
}

// origin echoes, and remembers what each connection sent.
type origin struct {
	addr string
	mu   sync.Mutex
	got  []*bytes.Buffer
}

func newOrigin(t *testing.T) *origin {
	o := &origin{}
	o.addr = stranger(t, func(conn net.Conn) {
		o.mu.Lock()
		got := new(bytes.Buffer)
		o.got = append(o.got, got)
		o.mu.Unlock()
		b := make([]byte, 32<<10)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			o.mu.Lock()
			got.Write(b[:n])
			o.mu.Unlock()
			if _, err := conn.Write(b[:n]); err != nil {
				return
			}
		}
	})
	return o
}

// received is what each connection has sent so far.
func (o *origin) received() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []string
	for _, b := range o.got {
		all = append(all, b.String())
	}
	return all
}

// stranger serves every connection with handle, which need not close it, and
// ends with the test.
func stranger(t *testing.T, handle func(net.Conn)) (addr string) {
	t.Helper()
	ln := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				stop := context.AfterFunc(ctx, func() { conn.Close() })
				defer stop()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() { cancel(); ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

// receive starts the daemon's half with handle as its Handle. The connection
// is closed after handle, and when the test ends.
func receive(t *testing.T, admit func(Chain) error, handle func(net.Conn, Chain)) (addr string, stop func()) {
	t.Helper()
	return serve(t, &Receiver{Key: testKey, Admit: admit, Handle: func(ctx context.Context, conn net.Conn, c Chain) {
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		handle(conn, c)
	}})
}

// shout is a daemon's Handle that echoes in a way of its own, so that a
// client can tell who has answered: it puts a '<' before each piece.
func shout(conn net.Conn, _ Chain) {
	b := make([]byte, 32<<10)
	for {
		n, err := conn.Read(b)
		if err != nil {
			return
		}
		if _, err := conn.Write(append([]byte("<"), b[:n]...)); err != nil {
			return
		}
	}
}

// client is the client's end of a tunnel.
type client struct {
	*net.TCPConn
	t *testing.T
	r *bufio.Reader
}

func (w *world) dial() *client {
	w.t.Helper()
	return dialClient(w.t, w.addr)
}

func dialClient(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute)) // ends a hung test, asserts nothing
	return &client{conn.(*net.TCPConn), t, bufio.NewReader(conn)}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// expect reads exactly want.
func (c *client) expect(want string) {
	c.t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c.r, got); err != nil || string(got) != want {
		c.t.Fatalf("read %q (%v), want %q", got[:n], err, want)
	}
}

// status reads the head of an answer.
func (c *client) status() string {
	c.t.Helper()
	var head strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		head.WriteString(line)
		if err != nil {
			return head.String()
		}
		if line == "\r\n" {
			return head.String()
		}
	}
}

// connect opens a tunnel to the metered name; early goes along with the head.
func (w *world) connect(early string) *client {
	w.t.Helper()
	c := w.dial()
	c.send("CONNECT " + metered + ":443 HTTP/1.1\r\nHost: " + metered + ":443\r\n\r\n" + early)
	c.expect(established)
	return c
}

// wait polls the edge's status until ok is content with it: counters follow
// the bytes that a client can see.
func (w *world) wait(what string, ok func(Status) bool) Status {
	w.t.Helper()
	var s Status
	for range 5000 {
		if s = w.Status(); ok(s) {
			return s
		}
		time.Sleep(time.Millisecond)
	}
	w.t.Fatalf("waited for %s, have %+v", what, s)
	return s
}

// expectDirect checks that a tunnel works, that it went direct for reason,
// and that the origin got what the client sent exactly once.
func (w *world) expectDirect(c *client, sent, reason string) {
	w.t.Helper()
	c.expect(sent)
	c.send("more")
	c.expect("more")
	s := w.wait("a passthrough", func(s Status) bool { return s.Passthrough > 0 })
	if s.Reasons[reason] != 1 || len(s.Reasons) != 1 || s.Lost != 1 || s.Metered != 0 {
		w.t.Errorf("counted %+v, want one passthrough for %s", s, reason)
	}
	if h := s.Hosts[metered]; h.Lost != 1 || h.Reasons[reason] != 1 {
		w.t.Errorf("counted %+v for the host, want one passthrough for %s", h, reason)
	}
	if got := w.origin.received(); len(got) != 1 || got[0] != sent+"more" {
		w.t.Errorf("origin received %q, want %q once", got, sent+"more")
	}
}

var watched sync.Map // names of tests

// noLeaks fails a test that leaves goroutines of this package behind. It must
// come before the first of them, so that its cleanup is the last. Subtests of
// a watched test are left to it.
func noLeaks(t *testing.T) {
	t.Helper()
	parent := ""
	for name := range strings.SplitSeq(t.Name(), "/") {
		parent += name
		if _, again := watched.Load(parent); again {
			return
		}
		parent += "/"
	}
	watched.Store(t.Name(), true)
	t.Cleanup(func() { watched.Delete(t.Name()) })
	t.Cleanup(func() {
		var left []string
		for range 2000 {
			left = left[:0]
			buf := make([]byte, 1<<20)
			for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
				if strings.Contains(g, "halton-meter/proxyedge.") && !strings.Contains(g, "testing.tRunner") {
					left = append(left, g)
				}
			}
			if len(left) == 0 {
				return
			}
			time.Sleep(time.Millisecond)
		}
		t.Errorf("goroutines left behind:\n%s", strings.Join(left, "\n\n"))
	})
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func mustAddr(t *testing.T, s string) netip.AddrPort {
	t.Helper()
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
