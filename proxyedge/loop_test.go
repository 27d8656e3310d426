package proxyedge

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
)

// site answers each request with 200, and remembers its bytes.
type recorder struct {
	addr string
	mu   sync.Mutex
	got  []string
}

func newRecorder(t *testing.T) *recorder {
	r := &recorder{}
	r.addr = stranger(t, func(conn net.Conn) {
		for {
			raw, _, err := readHead(conn, 1<<16)
			if err != nil {
				return
			}
			r.mu.Lock()
			r.got = append(r.got, string(raw))
			r.mu.Unlock()
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	return r
}

func (r *recorder) requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// leadsTo dials proxy as it is and every other name to the site. It judges
// addresses as the default dialer does.
func leadsTo(proxy *string, site string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == *proxy {
			return dialGuarded(ctx, network, address)
		}
		return new(net.Dialer).DialContext(ctx, network, site)
	}
}

// twice sends a request in absolute form, and the same through a tunnel.
func twice(t *testing.T, edge string) {
	t.Helper()
	c := dialClient(t, edge)
	c.send("GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\nVia: 1.1 other\r\n\r\n")
	if res, body := c.answer("GET"); res.StatusCode != 200 || body != "ok" {
		t.Errorf("in absolute form: %s %q", res.Status, body)
	}
	c = dialClient(t, edge)
	c.send("CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n")
	c.expect(established)
	c.send("GET /x HTTP/1.1\r\nHost: a.example\r\nVia: 1.1 other\r\n\r\n")
	if res, body := c.answer("GET"); res.StatusCode != 200 || body != "ok" {
		t.Errorf("through a tunnel: %s %q", res.Status, body)
	}
}

const onceAtTheSite = "GET /x HTTP/1.1\r\nHost: a.example\r\nVia: 1.1 other\r\n\r\n"

func (r *recorder) expectTwice(t *testing.T) {
	t.Helper()
	if got := r.requests(); len(got) != 2 || got[0] != onceAtTheSite || got[1] != onceAtTheSite {
		t.Errorf("the site got %q, want %q two times", got, onceAtTheSite)
	}
}

// Users and their scripts make the edge its own parent, for instance by
// adopting the proxy variables that name it.
func TestParentThatIsTheEdge(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "localhost", "0.0.0.0", "[::]", "[::1]", "[::ffff:127.0.0.1]"} {
		t.Run(host, func(t *testing.T) {
			r := newRecorder(t)
			var proxy string
			p := &ParentProxy{Dial: leadsTo(&proxy, r.addr), URL: mustURL(t, "http://unset.example")}
			w := newWorld(t, "", func(e *Edge) { e.Dial, e.Parent = nil, p })
			_, port, _ := net.SplitHostPort(w.addr)
			proxy = host + ":" + port
			p.URL.Host = proxy
			twice(t, w.addr)
			r.expectTwice(t)
			if s := w.wait("the end", func(s Status) bool { return s.Passthrough == 2 }); s.Failed != 0 || s.Reasons[ReasonPassed] != 0 {
				t.Errorf("counted %+v", s)
			}
		})
	}
}

// The edge is the daemon's parent: what the daemon sends is not given to it
// again.
func TestDaemonWhoseParentIsTheEdge(t *testing.T) {
	p := &ParentProxy{}
	daemon, _ := receive(t, nil, func(conn net.Conn, c Chain) {
		up, err := p.DialContext(t.Context(), "tcp", joinAuthority(c.Host, c.Port))
		if err != nil {
			t.Error(err)
			return
		}
		defer up.Close()
		go func() { io.Copy(up, conn); closeWrite(up) }()
		io.Copy(conn, up)
	})
	w := newWorld(t, daemon, nil)
	p.URL = mustURL(t, "http://"+w.addr)
	c := w.connect("\x16hello")
	c.expect("\x16hello")
	c.send("more")
	c.expect("more")
	s := w.wait("both tunnels", func(s Status) bool { return s.Metered == 1 && s.Passthrough == 1 })
	if s.Reasons[ReasonPassed] != 1 || s.Lost != 0 || s.Failed != 0 {
		t.Errorf("counted %+v", s)
	}
	if got := w.origin.received(); len(got) != 1 || got[0] != "\x16hellomore" {
		t.Errorf("origin received %q", got)
	}
}

// A ring of edges, each the next one's parent, ends at the first that has had
// the request, and the request arrives once.
func TestEdgesThatAreEachOthersParents(t *testing.T) {
	for n := 2; n <= maxMarks+2; n += 4 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			r := newRecorder(t)
			var edges []*world
			proxies := make([]string, n)
			for i := range n {
				p := &ParentProxy{Dial: leadsTo(&proxies[i], r.addr), URL: mustURL(t, "http://unset.example")}
				edges = append(edges, newWorld(t, "", func(e *Edge) { e.Dial, e.Parent = nil, p }))
			}
			for i, w := range edges {
				proxies[i] = edges[(i+1)%n].addr
				w.Parent.URL.Host = proxies[i]
			}
			twice(t, edges[0].addr)
			r.expectTwice(t)
			var hops uint64
			for _, w := range edges {
				s := w.wait("the end", func(s Status) bool { return s.Passthrough > 0 })
				hops += s.Passthrough
				if s.Failed != 0 {
					t.Errorf("counted %+v", s)
				}
			}
			// A request in absolute form that is the first to a parent
			// goes around unmarked once.
			if limit := uint64(3*n + 2); hops > limit {
				t.Errorf("%d hops, want at most %d", hops, limit)
			}
		})
	}
}

func TestRouteThatLeadsToTheEdge(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "localhost", "0.0.0.0", "[::]", "[::1]", "[::ffff:127.0.0.1]"} {
		ln := listen(t)
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		edge := &Edge{
			AllowLocal: true, Grace: -1,
			Routes: []Route{{Prefix: "/loop", Target: mustURL(t, "http://"+host+":"+port+"/loop")}},
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- edge.Serve(ctx, ln) }()
		t.Cleanup(func() { stop(); <-done })
		c := dialClient(t, ln.Addr().String())
		c.send("GET /loop/x HTTP/1.1\r\nHost: a\r\n\r\n")
		if res, body := c.answer("GET"); res.StatusCode != 403 {
			t.Errorf("%s: %s %q, want 403", host, res.Status, body)
		}
		if s := edge.Status(); s.Passthrough != 0 || s.Failed != 0 {
			t.Errorf("%s: counted %+v", host, s)
		}
	}
}

func TestPassage(t *testing.T) {
	e, other := &Edge{}, &Edge{}
	e.init()
	other.init()
	if one := e.marker.name(); one == e.marker.name() || !e.marker.owns(one) || e.marker.owns(one+"0") || other.marker.owns(one) {
		t.Errorf("%s is not the edge's alone", one)
	}
	tests := []struct {
		via, kept    []string
		marks, again bool
	}{
		{},
		{via: []string{"1.1 squid (x)"}, kept: []string{"1.1 squid (x)"}},
		{via: []string{"1.1 a ,  1.0 b"}, kept: []string{"1.1 a ,  1.0 b"}},
		{via: []string{"1.1 halton-daemon"}, marks: true},
		{via: []string{"1.1 a, 1.1 halton-0, 1.0 b", "1.1 halton-1"}, kept: []string{"1.1 a, 1.0 b"}, marks: true},
		{via: []string{"1.1 " + e.marker.name()}, marks: true, again: true},
		{via: []string{"1.1 " + other.marker.name()}, marks: true},
		{via: []string{strings.Repeat("1.1 halton-0,", maxMarks)}, kept: []string{""}, marks: true, again: true},
		{via: []string{",", "halton-0", "1.1"}, kept: []string{",", "halton-0", "1.1"}},
	}
	for _, test := range tests {
		p := e.passageOf(test.via)
		if p.passed() != test.marks || p.again != test.again || !slices.Equal(unmarked(test.via), test.kept) {
			t.Errorf("%q: %+v, without ours %q", test.via, p, unmarked(test.via))
		}
	}
	// Each hop adds one name, and none is added twice.
	ctx := context.Background()
	for range 2 {
		ctx = e.withPassage(ctx, e.passageOf([]string{viaOf(ctx)}))
	}
	rest, ok := strings.CutPrefix(viaOf(ctx), "1.1 halton-daemon, 1.1 ")
	if !ok || !e.marker.owns(rest) {
		t.Errorf("Via %q", viaOf(ctx))
	}
}

// What ours say to each other does not leave the machine.
func TestParentElsewhereIsToldNothing(t *testing.T) {
	var sent bytes.Buffer
	done := make(chan struct{})
	p := &ParentProxy{URL: mustURL(t, "http://proxy.example:3128"), Dial: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe() // whose address is no address of this machine
		go func() {
			defer close(done)
			defer far.Close()
			raw, _, _ := readHead(far, 1<<10)
			sent.Write(raw)
			io.WriteString(far, "HTTP/1.1 200 OK\r\n\r\n")
		}()
		return near, nil
	}}
	conn, err := p.DialContext(t.Context(), "tcp", "a.example:443")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	<-done
	if want := "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"; sent.String() != want {
		t.Errorf("the parent got %q, want %q", sent.String(), want)
	}
}
