package proxyedge

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// The site of these tests keeps the bytes of each connection, and answers what
// net/http can read of them. Everything is in memory and on a fake clock, so
// that it is known when nothing more will come.
type rawSite struct {
	mu      sync.Mutex
	streams []*bytes.Buffer
	serving *sync.WaitGroup
}

func (s *rawSite) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	s.serving.Go(func() { defer theirs.Close(); s.serve(theirs) })
	return ours, nil
}

func (s *rawSite) serve(conn net.Conn) {
	kept := new(bytes.Buffer)
	s.mu.Lock()
	s.streams = append(s.streams, kept)
	s.mu.Unlock()
	r := bufio.NewReader(io.TeeReader(conn, kept))
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			io.Copy(io.Discard, r)
			return
		}
		if strings.EqualFold(req.Header.Get("Expect"), "100-continue") {
			io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		io.Copy(io.Discard, req.Body)
		if _, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil {
			return
		}
	}
}

// canary is what follows every request.
const canary = "GET /site/canary HTTP/1.1\r\nHost: a\r\n\r\n"

// forwarded sends a client's bytes to an edge, and returns its answer, whether
// it closed the connection, and what arrived at the site. With chained, the
// site is behind a daemon.
func forwarded(t *testing.T, sent []byte, chained bool) (answer []byte, closed bool, streams [][]byte) {
	serving := &sync.WaitGroup{}
	s := &rawSite{serving: serving}
	e := &Edge{
		Routes: []Route{{Prefix: "/site", Target: mustURL(t, "http://"+site)}},
		Dial:   s.dial,
		// Names are not looked up, which could not be done in memory.
		AllowLocal: true,
	}
	if chained {
		e.Metered = func(host string, port int) bool { return host == site }
		e.Daemon = func() (Daemon, error) { return Daemon{Proxy: "the daemon"}, nil }
		e.Key = func() []byte { return testKey }
		e.Probe = func(context.Context, Daemon) error { return nil }
		e.dialDaemon = func(context.Context, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			serving.Go(func() { defer theirs.Close(); proven(s.serve)(theirs) })
			return ours, nil
		}
	}
	e.init()
	client, theirs := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	w := e.newWeb()
	serving.Go(func() { e.serveConn(ctx, theirs, w, serving) })

	got := new(bytes.Buffer)
	var ended error
	var reading sync.WaitGroup
	reading.Go(func() { _, ended = io.Copy(got, client) })
	go client.Write(sent) // ends with the connection
	synctest.Wait()
	client.Close()
	reading.Wait()
	cancel()
	w.close()
	serving.Wait()
	for _, stream := range s.streams {
		streams = append(streams, stream.Bytes())
	}
	return got.Bytes(), ended == nil, streams
}

// oneReading checks that all tempers read the same requests in what a site
// got, and the same as net/http, and returns them.
func oneReading(t *testing.T, stream []byte) []reading {
	t.Helper()
	want := byNetHTTP(stream)
	for _, m := range allTempers() {
		if got := m.readAll(stream); !slices.Equal(got, want) {
			t.Fatalf("%q is read as %q by net/http, and as %q by temper %b", stream, want, got, m)
		}
	}
	return want
}

// byNetHTTP reads requests until what is left is not a whole one.
func byNetHTTP(stream []byte) (all []reading) {
	left := bytes.NewReader(stream)
	r := bufio.NewReader(left)
	at := func() int { return len(stream) - left.Len() - r.Buffered() }
	for {
		from := at()
		req, err := http.ReadRequest(r)
		if err != nil {
			return all
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return all
		}
		all = append(all, reading{req.Method, req.RequestURI, req.Host, string(body), at() - from})
	}
}

// Whatever a client sends, it is refused, or arrives at the site as bytes that
// servers of every temper read in the same way.
func TestOneReading(t *testing.T) {
	for _, test := range slices.Concat(hostileRequests, hostileBodies) {
		for _, chained := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, %s, chained %t", test.rfc, test.name, chained), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					answer, closed, streams := forwarded(t, []byte(test.request+canary), chained)
					var all []string
					for _, stream := range streams {
						for _, r := range oneReading(t, stream) {
							all = append(all, r.String())
						}
					}
					const next = "GET /canary example.com "
					if test.status == 200 {
						if final := bytes.TrimPrefix(answer, []byte("HTTP/1.1 100 Continue\r\n\r\n")); !bytes.HasPrefix(final[min(len(final), len("HTTP/1.x")):], []byte(" 200 ")) {
							t.Errorf("answered %q", answer)
						}
						// A client that speaks HTTP/1.0 gets one answer.
						if !slices.Equal(all, []string{test.want, next}) && !(closed && slices.Equal(all, []string{test.want})) {
							t.Errorf("the site read %q, want %q and the next request", all, test.want)
						}
						return
					}
					if len(all) != 0 || !closed {
						t.Errorf("the site read %q, and the connection was closed: %t", all, closed)
					}
					if want := fmt.Sprintf("HTTP/1.1 %d ", test.status); test.status != 0 &&
						(!bytes.HasPrefix(answer, []byte(want)) || bytes.Count(answer, []byte("HTTP/1.1 ")) != 1 || len(streams) != 0) {
						t.Errorf("answered %q, want %s; the site got %q", answer, want, streams)
					}
				})
			})
		}
	}
}

// FuzzOneReading sends mutations of the table.
func FuzzOneReading(f *testing.F) {
	for _, test := range slices.Concat(hostileRequests, hostileBodies) {
		if len(test.request) < 1<<10 {
			f.Add([]byte(test.request), false)
		}
	}
	f.Add([]byte(canary+hostileRequests[0].request), true)
	f.Fuzz(func(t *testing.T, request []byte, chained bool) {
		if bytes.Contains(bytes.ToLower(request), []byte("upgrade")) || bytes.Contains(request, []byte("CONNECT")) {
			return // what is behind an upgrade or in a tunnel is not ours to read
		}
		synctest.Test(t, func(t *testing.T) {
			_, _, streams := forwarded(t, append(bytes.Clone(request), canary...), chained)
			for _, stream := range streams {
				oneReading(t, stream)
			}
		})
	})
}
