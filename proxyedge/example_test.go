package proxyedge_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"time"

	"github.com/haltonlabs/halton-meter/proxyedge"
)

// An edge without a daemon is a plain CONNECT proxy.
func ExampleEdge() {
	site := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "hello")
	}))
	defer site.Close()

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	edge := &proxyedge.Edge{Grace: -1}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error)
	go func() { done <- edge.Serve(ctx, ln) }()

	client := site.Client()
	client.Transport.(*http.Transport).Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: ln.Addr().String()})
	resp, err := client.Get(site.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	fmt.Println(string(body))
	client.CloseIdleConnections()

	stop()
	fmt.Println(<-done)
	s := edge.Status()
	fmt.Println(s.Passthrough, s.Reasons)
	// Output:
	// hello
	// <nil>
	// 1 map[not_metered:1]
}

// Clients that are told where a service is need no proxy: with a route they
// are given the edge's address instead.
func ExampleRoute() {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Method, " ", r.RequestURI)
	}))
	defer service.Close()
	target, err := url.Parse(service.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	edge := &proxyedge.Edge{Routes: []proxyedge.Route{{Prefix: "/service", Target: target}}, Grace: -1}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go edge.Serve(ctx, ln)

	resp, err := http.Get("http://" + ln.Addr().String() + "/p/billing/service/v1/things?n=1")
	if err != nil {
		fmt.Println(err)
		return
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	fmt.Println(string(body))
	// Output: GET /v1/things?n=1
}

// The daemon's half: each tunnel of the edge reaches Handle with the client
// and its project.
func ExampleReceiver() {
	key := []byte("32 random bytes that both can read")
	internal, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	receiver := &proxyedge.Receiver{
		Key: key,
		Handle: func(_ context.Context, conn net.Conn, c proxyedge.Chain) {
			defer conn.Close()
			first := make([]byte, 1)
			io.ReadFull(conn, first)
			conn.Write([]byte{0x16}) // from here on the tunnel is the daemon's
			fmt.Printf("%s:%d for %q begins with %#x\n", c.Host, c.Port, c.User, first)
		},
	}
	received := make(chan error)
	go func() { received <- receiver.Serve(ctx, internal) }()

	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	edge := &proxyedge.Edge{
		Metered: func(host string, port int) bool { return host == "api.example.com" && port == 443 },
		Daemon: func() (proxyedge.Daemon, error) {
			return proxyedge.Daemon{Proxy: internal.Addr().String()}, nil
		},
		Probe: func(context.Context, proxyedge.Daemon) error { return nil },
		Key:   func() []byte { return key },
		Grace: -1,
	}
	go edge.Serve(ctx, port)

	client, err := net.Dial("tcp", port.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	// "d2ViOg==" is the proxy user "web" with an empty password.
	io.WriteString(client, "CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n"+
		"Proxy-Authorization: Basic d2ViOg==\r\n\r\n\x16")
	answer := make([]byte, len("HTTP/1.1 200"))
	io.ReadFull(client, answer)
	fmt.Println(string(answer))
	client.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, client)
	client.Close()
	stop()
	<-received
	// Unordered output:
	// HTTP/1.1 200
	// api.example.com:443 for "web" begins with 0x16
}

// An edge that can be upgraded in place begins where the program before it
// left off, if there was one, and hands over to the next one when it is told.
func ExampleInheritance() {
	in, err := proxyedge.Inherited()
	if err != nil {
		fmt.Println("its tunnels are cut:", err)
	}
	var ln net.Listener
	if in != nil && len(in.Listeners) > 0 {
		ln = in.Listeners[0]
	} else if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		fmt.Println(err)
		return
	}
	edge := &proxyedge.Edge{Grace: -1}
	edge.Resume(in)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- edge.Serve(ctx, ln) }()

	// Say, on a signal. It returns only if the new program could not be run.
	err = edge.Upgrade(ctx, "/no/such/program", os.Args, nil)
	fmt.Println(errors.Is(err, os.ErrNotExist))

	stop()
	fmt.Println(<-done)
	// Output:
	// true
	// <nil>
}

// Identify tells our own edge from whoever else holds the port.
func ExampleIdentify() {
	key := []byte("32 random bytes that both can read")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	edge := &proxyedge.Edge{Key: func() []byte { return key }}
	go edge.Serve(ctx, ln)

	fmt.Println(proxyedge.Identify(ctx, ln.Addr().String(), key))
	// Output: <nil>
}

// An edge behind a company's proxy. Its refusals are a ParentError.
func ExampleParentProxy() {
	company := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	defer company.Close()
	u, err := url.Parse(company.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	parent := &proxyedge.ParentProxy{URL: u, NoProxy: "intranet.example.com, 10.0.0.0/8"}
	edge := &proxyedge.Edge{Dial: parent.DialContext}

	_, err = edge.Dial(context.Background(), "tcp", "api.example.com:443")
	var refused *proxyedge.ParentError
	fmt.Println(errors.As(err, &refused) && refused.Status == http.StatusProxyAuthRequired)
	// Output: true
}

// A program writes the counters to a file and hands them to its successor.
func ExampleStatus() {
	edge := &proxyedge.Edge{}
	edge.Restore(proxyedge.Status{
		Since:     time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC),
		OffSince:  time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC),
		OffReason: proxyedge.ReasonDaemonDown,
		Counts:    proxyedge.Counts{Metered: 40, Passthrough: 2, Lost: 2},
		Reasons:   map[string]uint64{proxyedge.ReasonDaemonDown: 2},
		Hosts: map[string]proxyedge.HostStatus{
			"api.example.com": {Counts: proxyedge.Counts{Metered: 40, Passthrough: 2, Lost: 2}},
		},
	})
	text, err := json.MarshalIndent(edge.Status(), "", "  ")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(text))
	// Output:
	// {
	//   "since": "2026-11-23T09:00:00Z",
	//   "metering": false,
	//   "off_since": "2026-11-23T10:00:00Z",
	//   "off_reason": "daemon_down",
	//   "open": 0,
	//   "metered": 40,
	//   "passthrough": 2,
	//   "lost": 2,
	//   "failed": 0,
	//   "aborted": 0,
	//   "bytes_up": 0,
	//   "bytes_down": 0,
	//   "reasons": {
	//     "daemon_down": 2
	//   },
	//   "hosts": {
	//     "api.example.com": {
	//       "open": 0,
	//       "metered": 40,
	//       "passthrough": 2,
	//       "lost": 2,
	//       "failed": 0,
	//       "aborted": 0,
	//       "bytes_up": 0,
	//       "bytes_down": 0
	//     }
	//   }
	// }
}
