package proxyedge

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestHostileRequests(t *testing.T) {
	const good = "GET /site/good HTTP/1.1\r\nHost: a\r\n\r\n"
	var w *webWorld
	w = newWebWorld(t, keepAll(&w), nil, nil)
	for _, test := range slices.Concat(hostileRequests, hostileBodies) {
		if test.status == 0 {
			continue
		}
		for _, where := range []string{"first", "after another", "pipelined"} {
			t.Run(test.name+", "+where, func(t *testing.T) {
				before := len(w.requests())
				c := dialClient(t, w.addr)
				switch where {
				case "first":
					c.send(test.request)
				case "after another":
					c.send(good)
					c.answer("GET")
					c.send(test.request)
					before++
				case "pipelined":
					c.send(good + test.request)
					c.answer("GET")
					before++
				}
				res, body := c.answer("GET")
				if res.StatusCode == http.StatusContinue {
					res, body = c.answer("GET")
				}
				if res.StatusCode != test.status {
					t.Fatalf("%s %q, want %d", res.Status, body, test.status)
				}
				if test.status != 200 {
					if rest, err := io.ReadAll(c.r); !res.Close || len(rest) > 0 {
						t.Errorf("close %t, then %q, %v", res.Close, rest, err)
					}
				}
				got := w.requests()[before:]
				if test.want == "" && len(got) != 0 {
					t.Errorf("the site got %+v", got)
				}
				if test.want != "" && (len(got) != 1 || got[0].line+" "+got[0].host+" "+got[0].body != test.want) {
					t.Errorf("the site got %+v, want %q", got, test.want)
				}
			})
		}
	}
}

// The head is good, and has been sent on: a body that two parsers would end in
// different places is cut off, and nothing behind it is a request.
func TestHostileChunks(t *testing.T) {
	for _, test := range hostileBodies {
		if test.status != 0 {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			var w *webWorld
			w = newWebWorld(t, keepAll(&w), nil, nil)
			c := w.dial()
			go c.Write([]byte(test.request + canary))
			if got, _ := io.ReadAll(c.r); strings.HasPrefix(string(got), "HTTP/1.1 2") {
				t.Errorf("the client got %q", got)
			}
			w.wait("the end of the request", func(s Status) bool { return s.Open == 0 })
			for _, r := range w.requests() {
				if r.line != "POST /a" || !strings.HasPrefix(r.body, "broken: ") {
					t.Errorf("the site got %+v", r)
				}
			}
		})
	}
}

// framing and net/http must end a body at the same byte, however it is cut
// into reads.
func FuzzFraming(f *testing.F) {
	for _, s := range []string{
		"0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\nGET", "a;b=c\r\n0123456789\r\n0\r\nX: y\r\n\r\n", "1\r\nxx\n0\r\n\r\n", "00\r\n\r\n", "1 ;a\r\nx\r\n0\r\n\r\n", "1 \r\nx\r\n0\r\n\r\n",
	} {
		f.Add([]byte(s), uint8(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		whole := framing{chunked: true, maxTrailer: 1 << 10}
		n, err := whole.scan(b)

		pieces, total := framing{chunked: true, maxTrailer: 1 << 10}, 0
		var err2 error
		for total < len(b) && pieces.pending() && err2 == nil {
			var k int
			k, err2 = pieces.scan(b[total:min(len(b), total+int(step)+1)])
			total += k
		}
		if (err == nil) != (err2 == nil) || err == nil && total != n {
			t.Fatalf("%q in one read: %d, %v; in reads of %d: %d, %v", b, n, err, int(step)+1, total, err2)
		}
		if err != nil || whole.pending() {
			return
		}
		r := bufio.NewReader(io.MultiReader(strings.NewReader("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), bytes.NewReader(b[:n])))
		req, err := http.ReadRequest(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			t.Fatalf("%q ends at %d; net/http: %v", b, n, err)
		}
		if rest, _ := io.ReadAll(r); len(rest) > 0 {
			t.Fatalf("%q ends at %d; net/http leaves %q", b, n, rest)
		}
	})
}

// Whatever is cut where, net/http sees only requests that were judged, and the
// stand-in for one that was refused as the last.
func FuzzGate(f *testing.F) {
	for _, test := range hostileRequests {
		f.Add([]byte("POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}" + test.request))
	}
	edge := &Edge{}
	edge.init()
	f.Fuzz(func(t *testing.T, raw []byte) {
		conn := &readConn{Reader: iotest.OneByteReader(bytes.NewReader(raw))}
		g := newGate(edge, conn, nil)
		r := bufio.NewReader(g)
		for range 1000 {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if req.Method == refusedMethod {
				if !g.over.Load() || req.ContentLength != 0 {
					t.Fatalf("%q: a stand-in without a refusal", raw)
				}
				return
			}
			if req.Method == http.MethodConnect {
				return
			}
			if _, err := parseTarget(req.RequestURI); err != nil {
				t.Fatalf("%q: %q has passed: %v", raw, req.RequestURI, err)
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return // cut, or refused in the middle
			}
		}
	})
}

// readConn is a connection to read from only.
type readConn struct {
	io.Reader
	net.Conn
}

func (c *readConn) Read(p []byte) (int, error) { return c.Reader.Read(p) }
func (c *readConn) Close() error               { return nil }
