package proxyedge

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

// The behaviours are those that RFC 9112 asks of a careful server, and where
// it leaves a choice, the one that cannot be read in two ways. A request that
// is not refused arrives as want says.
var hostileRequests = []struct {
	name, request string
	status        int
	want          string // what the site gets: request line, host, body
}{
	// The request line: RFC 9112 section 3.
	{"plain", "GET /site/a HTTP/1.1\r\nHost: a\r\n\r\n", 200, "GET /a example.com "},
	{"an empty line before", "\r\nGET /site/a HTTP/1.1\r\nHost: a\r\n\r\n", 200, "GET /a example.com "},
	{"unknown method", "BREW /site/a HTTP/1.1\r\nHost: a\r\n\r\n", 200, "BREW /a example.com "},
	{"our own method", "REFUSED /site/a HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"no method", " /site/a HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"method with a colon", "GET: /site/a HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"two spaces", "GET  /site/a HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"tab for a space", "GET\t/site/a HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"space in the target", "GET /site/a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"trailing space", "GET /site/a HTTP/1.1 \r\nHost: a\r\n\r\n", 400, ""},
	{"HTTP/0.9", "GET /site/a\r\n\r\n", 400, ""},
	{"HTTP/1.2", "GET /site/a HTTP/1.2\r\nHost: a\r\n\r\n", 400, ""},
	{"HTTP/2.0", "GET /site/a HTTP/2.0\r\nHost: a\r\n\r\n", 400, ""},
	{"lower case version", "GET /site/a http/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"bare LF", "GET /site/a HTTP/1.1\nHost: a\r\n\r\n", 400, ""},
	{"bare CR", "GET /site/a HTTP/1.1\rX: y\r\nHost: a\r\n\r\n", 400, ""},
	{"NUL", "GET /site/a\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"raw UTF-8", "GET /site/\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"fragment", "GET /site/a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"malformed escape", "GET /site/%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"no slash", "GET site/a HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"asterisk", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"authority form", "GET example.com:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"dots are the site's matter", "GET /site/../a HTTP/1.1\r\nHost: a\r\n\r\n", 200, "GET /../a example.com "},
	{"dots do not reach a route", "GET /x/../site/a HTTP/1.1\r\nHost: a\r\n\r\n", 404, ""},
	{"nor do escapes", "GET /%73ite/a HTTP/1.1\r\nHost: a\r\n\r\n", 404, ""},

	// The absolute form: section 3.2.2. Host is ignored.
	{"absolute", "GET http://example.com/a HTTP/1.1\r\nHost: evil.example\r\n\r\n", 200, "GET /a example.com "},
	{"with a port", "GET http://example.com:80/a HTTP/1.1\r\nHost: a\r\n\r\n", 200, "GET /a example.com "},
	{"upper case", "GET HTTPS://EXAMPLE.com/a HTTP/1.1\r\nHost: a\r\n\r\n", 200, "GET /a EXAMPLE.com "},
	{"user", "GET http://example.com@evil.example/a HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"backslash", "GET http://example.com\\@evil.example/a HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"escaped host", "GET http://example%2ecom/a HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"no host", "GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"empty port", "GET http://example.com:/a HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"port out of range", "GET http://example.com:65536/a HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"IPv6 without brackets", "GET http://::1/a HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"IPv6 with a zone", "GET http://[fe80::1%25lo]/a HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
	{"a scheme of its own", "GET ftp://example.com/a HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},

	// Host: section 3.2.
	{"no Host", "GET /site/a HTTP/1.1\r\n\r\n", 400, ""},
	{"no Host in HTTP/1.0", "GET /site/a HTTP/1.0\r\n\r\n", 200, "GET /a example.com "},
	{"two Hosts", "GET /site/a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, ""},
	{"Host with a user", "GET /site/a HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, ""},
	{"Host with a path", "GET /site/a HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, ""},
	{"list of Hosts", "GET /site/a HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, ""},
	{"IPv6 Host", "GET /site/a HTTP/1.1\r\nHost: [::1]:8081\r\n\r\n", 200, "GET /a example.com "},
	{"empty Host", "GET /site/a HTTP/1.1\r\nHost:\r\n\r\n", 200, "GET /a example.com "},

	// Fields: section 5.
	{"folded field", "GET /site/a HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400, ""},
	{"folded first field", "GET /site/a HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n", 400, ""},
	{"space before the colon", "GET /site/a HTTP/1.1\r\nHost : a\r\n\r\n", 400, ""},
	{"no colon", "GET /site/a HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400, ""},
	{"no name", "GET /site/a HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400, ""},
	{"control character", "GET /site/a HTTP/1.1\r\nHost: a\r\nX: a\x01\r\n\r\n", 400, ""},
	{"too large", "GET /site/a HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431, ""},
	{"passed an edge before", "GET /site/a HTTP/1.1\r\nHost: a\r\nHalton-Nonce: 0\r\n\r\n", 508, ""},

	// Framing: section 6, and RFC 9110 section 8.6.
	{"both lengths", "POST /site/a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, ""},
	{"two lengths", "POST /site/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400, ""},
	{"list of lengths", "POST /site/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx", 400, ""},
	{"signed length", "POST /site/a HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", 400, ""},
	{"hexadecimal length", "POST /site/a HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nx", 400, ""},
	{"length out of range", "POST /site/a HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nx", 400, ""},
	{"a body on GET", "GET /site/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 200, "GET /a example.com x"},
	{"chunks", "POST /site/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 200, "POST /a example.com x"},
	{"another coding", "POST /site/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, ""},
	{"disguised coding", "POST /site/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, ""},
	{"coding with a vertical tab", "POST /site/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400, ""},
	{"disguised field", "POST /site/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, ""},
	{"two codings", "POST /site/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400, ""},
	{"chunks in HTTP/1.0", "POST /site/a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, ""},
}

func TestHostileRequests(t *testing.T) {
	const good = "GET /site/good HTTP/1.1\r\nHost: a\r\n\r\n"
	var w *webWorld
	w = newWebWorld(t, keepAll(&w), nil, nil)
	for _, test := range hostileRequests {
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
	for name, body := range map[string]string{
		"bare LF":             "1\nx\r\n0\r\n\r\n",
		"bare LF after data":  "1\r\nx\n0\r\n\r\n",
		"longer than it says": "1\r\nxy\r\n0\r\n\r\n",
		"negative":            "-1\r\n\r\n0\r\n\r\n",
		"hexadecimal prefix":  "0x1\r\nx\r\n0\r\n\r\n",
		"space after a size":  "1 \r\nx\r\n0\r\n\r\n",
		"empty size":          "\r\nx\r\n0\r\n\r\n",
		"too large":           "10000000000000000\r\nx\r\n0\r\n\r\n",
		"LF in an extension":  "1;a\nb\r\nx\r\n0\r\n\r\n",
		"endless extension":   "1;" + strings.Repeat("a", maxChunkExt+1) + "\r\nx\r\n0\r\n\r\n",
		"malformed trailer":   "1\r\nx\r\n0\r\nA : b\r\n\r\n",
		"folded trailer":      "1\r\nx\r\n0\r\nA: b\r\n c\r\n\r\n",
		"length in a trailer": "1\r\nx\r\n0\r\nContent-Length: 0\r\n\r\n",
		"our own trailer":     "1\r\nx\r\n0\r\nHalton-Client: x\r\n\r\n",
		"endless trailer":     "1\r\nx\r\n0\r\nA: " + strings.Repeat("b", 64<<10) + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			var w *webWorld
			w = newWebWorld(t, keepAll(&w), nil, nil)
			c := w.dial()
			go c.Write([]byte("POST /site/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body +
				"GET /site/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"))
			if got, _ := io.ReadAll(c.r); strings.HasPrefix(string(got), "HTTP/1.1 2") {
				t.Errorf("the client got %q", got)
			}
			w.wait("the end of the request", func(s Status) bool { return s.Open == 0 })
			for _, r := range w.requests() {
				if r.line != "POST /x" || !strings.HasPrefix(r.body, "broken: ") {
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
