package capture

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/tap"
	"github.com/haltonlabs/halton-meter/proxyedge"
)

// newEdge puts an edge and a receiver in front of a rig, and returns the
// edge's address. Without a daemon the edge goes to the provider itself.
func newEdge(t *testing.T, r *rig, daemon bool) (addr string, edge *proxyedge.Edge) {
	t.Helper()
	key := []byte("a key of thirty-two bytes, or so")
	listen := func(s interface {
		Serve(context.Context, net.Listener) error
	},
	) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx, ln) }()
		t.Cleanup(func() {
			cancel()
			// The receiver waits for the tunnels.
			cut, cancelled := context.WithCancel(context.Background())
			cancelled()
			r.Shutdown(cut)
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		return ln.Addr().String()
	}
	where := proxyedge.Daemon{}
	if daemon {
		where.Proxy = listen(&proxyedge.Receiver{Key: key, Admit: r.Admit, Handle: r.Handle})
		where.HealthURL = "http://" + where.Proxy
	}
	edge = &proxyedge.Edge{
		Metered: func(host string, port int) bool { return host == testHost && port == 443 },
		Routes:  []proxyedge.Route{{Prefix: "/openai", Target: &url.URL{Scheme: "https", Host: testHost}}},
		Daemon:  func() (proxyedge.Daemon, error) { return where, nil },
		Probe: func(context.Context, proxyedge.Daemon) error {
			if !daemon {
				return fmt.Errorf("no daemon")
			}
			return nil
		},
		Key:     func() []byte { return key },
		Dial:    r.Dial,
		RootCAs: r.RootCAs,
		Grace:   -1,
	}
	return listen(edge), edge
}

// The provider and the client see the same with the daemon up and down; only
// the record differs.
func TestPlainTunnels(t *testing.T) {
	const body = "data: {\"choices\":[]}\n\ndata: [DONE]\n\n"
	for _, daemon := range []bool{true, false} {
		t.Run(fmt.Sprintf("daemon %t", daemon), func(t *testing.T) {
			var seen []string
			r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
				sent, _ := io.ReadAll(req.Body)
				seen = append(seen, fmt.Sprint(req.Proto, req.Method, req.RequestURI, req.Host, req.Header, string(sent)))
				w.Header().Set("Content-Type", "text/event-stream")
				io.WriteString(w, body)
			})
			r.Rejected = func(c proxyedge.Chain, sure bool) { t.Errorf("rejected: %+v, %t", c, sure) }
			r.Trusted = func(c proxyedge.Chain) { t.Errorf("trusted: %+v", c) }
			addr, edge := newEdge(t, r, daemon)
			for i := range 2 { // the second request is on a connection that was used
				req, err := http.NewRequestWithContext(t.Context(), "POST",
					"http://"+addr+"/p/web%20shop/openai"+metered+"?a=b;c", strings.NewReader(`{"model":"m"}`))
				if err != nil {
					t.Fatal(err)
				}
				req.Header = http.Header{"Authorization": {"Bearer k"}, "Halton-Project": {"x"}, "User-Agent": {"sdk"}}
				res, got := do(t, http.DefaultClient, req)
				if res.StatusCode != 200 || string(got) != body {
					t.Errorf("%s %q", res.Status, got)
				}
				want := fmt.Sprint("HTTP/1.1", "POST", metered+"?a=b;c", testHost,
					http.Header{"Authorization": {"Bearer k"}, "User-Agent": {"sdk"}, "Content-Length": {"13"}, "Accept-Encoding": {"gzip"}}, `{"model":"m"}`)
				if len(seen) != i+1 || seen[i] != want {
					t.Errorf("provider got %q, want %q", seen, want)
				}
				if !daemon {
					continue
				}
				rec := r.record(t, tap.Completed)
				if rec.ProxyUser != "web shop" || rec.Host != testHost || rec.Path != metered || !rec.Client.IsValid() {
					t.Errorf("record of %+v", rec.Exchange)
				}
			}
			s := edge.Status()
			if up := uint64(2); daemon && (s.Metered != up || s.Lost != 0 || r.Counters().Plain != 2) || !daemon && (s.Lost != up || s.Metered != 0) {
				t.Errorf("counted %+v, and %+v", s, r.Counters())
			}
		})
	}
}

// When the provider fails, its client learns what it would learn without us,
// and nobody asks twice.
func TestPlainTunnelToAFailingProvider(t *testing.T) {
	asked := 0
	r := newRig(t, func(http.ResponseWriter, *http.Request) {
		asked++
		panic(http.ErrAbortHandler)
	})
	addr, _ := newEdge(t, r, true)
	res, err := http.Post("http://"+addr+"/openai"+metered, "application/json", strings.NewReader("{}"))
	if err == nil {
		res.Body.Close()
		t.Errorf("%s, want no answer", res.Status)
	}
	r.record(t, tap.UpstreamFailed)
	if asked != 1 {
		t.Errorf("the provider was asked %d times", asked)
	}
}

func TestPlainUpgrade(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(buf, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		buf.Flush()
		io.CopyN(conn, buf, 5)
	})
	addr, _ := newEdge(t, r, true)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, strings.Replace(upgradeRequest, "/v1/", "/openai/v1/", 1)+"frame")
	br := bufio.NewReader(conn)
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
		t.Fatalf("%v, %v", res, err)
	}
	if got, err := io.ReadAll(br); string(got) != "frame" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if c := r.Counters(); c.Upgraded != 1 || c.Plain != 1 {
		t.Errorf("counters: %+v", c)
	}
}

func TestAdmitOfPlainTunnels(t *testing.T) {
	r := newRig(t, func(http.ResponseWriter, *http.Request) {}, func(r *rig) {
		r.Metered = func(host string, _ int) bool { return host != "other.example" }
	})
	tests := []struct {
		chain proxyedge.Chain
		want  string
	}{
		{proxyedge.Chain{Host: testHost, Port: 443, Plain: true}, ""},
		{proxyedge.Chain{Host: "eu.example", Port: 443, Plain: true}, ""}, // needs no certificate of ours
		{proxyedge.Chain{Host: "eu.example", Port: 443}, "unpermitted"},
		{proxyedge.Chain{Host: testHost, Port: 80, Plain: true}, "unmetered"},
		{proxyedge.Chain{Host: "other.example", Port: 443, Plain: true}, "unmetered"},
	}
	for _, test := range tests {
		got := ""
		if err := r.Admit(test.chain); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%+v: %q, want %q", test.chain, got, test.want)
		}
	}
}
