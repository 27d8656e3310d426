package capture

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/haltonlabs/halton-meter/meter/tap"
)

func TestRecord(t *testing.T) {
	each(t, func(t *testing.T, major int) {
		opened := make(chan string, 1)
		r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
			if req.ProtoMajor != major {
				t.Errorf("provider got %s", req.Proto)
			}
			io.Copy(io.Discard, req.Body)
			fmt.Fprint(w, `{"answer":42}`)
		}, func(r *rig) { r.Opened = func(x *tap.Exchange) { opened <- x.ID } })
		c := r.client(t, major)
		req := newRequest(t, "POST", metered+"?key=secret", strings.NewReader(`{"q":1}`))
		req.Header.Set("User-Agent", strings.Repeat("é", 150))
		res, body := do(t, c, req)
		if res.StatusCode != 200 || string(body) != `{"answer":42}` || res.ProtoMajor != major {
			t.Errorf("%s %s: %s", res.Proto, res.Status, body)
		}
		rec := r.record(t, tap.Completed)
		x := rec.Exchange
		if x.ID != <-opened || len(x.ID) != 36 {
			t.Errorf("id %q", x.ID)
		}
		if x.Method != "POST" || x.Host != testHost || x.Path != metered || x.ProxyUser != "acme" ||
			x.Client.String() != "127.0.0.1:54321" || x.Endpoint.Provider != "openai" || x.UserAgent != strings.Repeat("é", 100) {
			t.Errorf("exchange: %+v", x)
		}
		if rec.HTTPStatus != 200 {
			t.Errorf("status %d", rec.HTTPStatus)
		}
		do(t, c, newRequest(t, "GET", "/v1/models", nil)) // makes no record: the rig checks
	})
}

// TestBodies sends random bodies in random pieces both ways.
func TestBodies(t *testing.T) {
	each(t, func(t *testing.T, major int) {
		r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
			body, err := io.ReadAll(req.Body)
			if err != nil {
				t.Error(err)
			}
			rng := mathrand.New(mathrand.NewPCG(uint64(len(body)), 1))
			for len(body) > 0 {
				n := 1 + rng.IntN(min(len(body), 40000))
				w.Write(body[:n])
				if body = body[n:]; rng.IntN(2) == 0 {
					w.(http.Flusher).Flush()
				}
			}
		})
		c := r.client(t, major)
		for _, size := range []int{0, 1, 2, 4095, 4096, 16384, 16385, 100_000, 1 << 20} {
			want := make([]byte, size)
			rand.Read(want)
			for _, wrap := range []func(io.Reader) io.Reader{
				func(r io.Reader) io.Reader { return r },                      // with Content-Length
				func(r io.Reader) io.Reader { return struct{ io.Reader }{r} }, // without
				func(r io.Reader) io.Reader { return iotest.HalfReader(r) },   // in pieces
			} {
				req := newRequest(t, "POST", metered, wrap(bytes.NewReader(want)))
				_, got := do(t, c, req)
				if !bytes.Equal(got, want) {
					t.Errorf("%d bytes: got %d other ones", size, len(got))
				}
				r.record(t, tap.Completed)
			}
		}
	})
}

// TestBigUpload has a provider that answers as soon as the whole body came.
func TestBigUpload(t *testing.T) {
	each(t, func(t *testing.T, major int) {
		const size = 20 << 20
		r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
			h := sha256.New()
			n, err := io.Copy(h, req.Body)
			if n != req.ContentLength || err != nil {
				t.Errorf("got %d bytes of %d: %v", n, req.ContentLength, err)
			}
			fmt.Fprintf(w, "%x", h.Sum(nil))
		})
		h := sha256.New()
		req := newRequest(t, "POST", "/v1/files", io.TeeReader(io.LimitReader(mathrand.NewChaCha8([32]byte{}), size), h))
		req.ContentLength = size
		_, got := do(t, r.client(t, major), req)
		if want := fmt.Sprintf("%x", h.Sum(nil)); string(got) != want {
			t.Errorf("provider saw %s, client sent %s", got, want)
		}
	})
}

// newRawRig starts a rig whose provider keeps the bytes of each request head
// and answers with given ones.
func newRawRig(t *testing.T, answer string) (r *rig, heads <-chan string) {
	t.Helper()
	r = newRig(t, nil, func(r *rig) { heads = rawProvider(t, r, answer) })
	return r, heads
}

func rawProvider(t *testing.T, r *rig, answer string) <-chan string {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", r.provider.TLS)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			br := bufio.NewReader(conn)
			for {
				head, err := readHead(br)
				if err != nil {
					break
				}
				got <- head
				io.WriteString(conn, answer)
				if strings.Contains(answer, "Connection: close") {
					break
				}
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done }) // after the rig's own, which closes the connections
	r.Dial = dialTo(ln.Addr())
	return got
}

func readHead(br *bufio.Reader) (string, error) {
	var head strings.Builder
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return "", err
		}
		head.WriteString(line)
		if line == "\r\n" {
			return head.String(), nil
		}
	}
}

// fields returns the request line and the sorted fields of a head.
func fields(head string) (line string, sorted []string) {
	line, rest, _ := strings.Cut(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n")
	sorted = strings.Split(rest, "\r\n")
	slices.Sort(sorted)
	return line, sorted
}

// TestRequestHead compares the head at the provider with the client's, which
// is written by hand.
func TestRequestHead(t *testing.T) {
	const end = "\r\n\r\n"
	tests := []struct {
		name, sent string
		want       string // "" means as sent
	}{
		{"bare", "GET / HTTP/1.1\r\nHost: api.openai.com" + end, ""},
		{"empty query", "GET /v1/models? HTTP/1.1\r\nHost: api.openai.com" + end, ""},
		{"odd query", "GET /v1?a=b;c&%zz&&=&a=+%20&\"x\" HTTP/1.1\r\nHost: api.openai.com" + end, ""},
		{"encoded path", "GET /v1/a%2Fb//c/../d/./%7e%7E HTTP/1.1\r\nHost: api.openai.com" + end, ""},
		{"unescaped path", "GET /v1/{x}|\"y\"[z]:^`? HTTP/1.1\r\nHost: api.openai.com" + end, ""},
		{"double slash", "GET //v1/models HTTP/1.1\r\nHost: api.openai.com" + end, ""},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: api.openai.com" + end, ""},
		{"host as sent", "GET /v1 HTTP/1.1\r\nHost: Api.OpenAI.com:443" + end, ""},
		{"another host", "GET /v1 HTTP/1.1\r\nHost: front.example" + end, ""},
		{"proxies' fields", "GET /v1 HTTP/1.1\r\nHost: api.openai.com\r\nForwarded: for=1.2.3.4\r\nVia: 1.1 x\r\n" +
			"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: h\r\nX-Forwarded-Proto: http" + end, ""},
		{"repeated fields", "GET /v1 HTTP/1.1\r\nHost: api.openai.com\r\nX-A: 1\r\nX-A: 2\r\nX-A: \r\nCookie: a=b; c=d" + end, ""},
		{"usual fields", "GET /v1 HTTP/1.1\r\nHost: api.openai.com\r\nConnection: keep-alive\r\nAccept-Encoding: br, zstd\r\n" +
			"Te: trailers\r\nUser-Agent: x/1\r\nX-Api-Key: k" + end, ""},
		{"method", "PURGE /v1 HTTP/1.1\r\nHost: api.openai.com" + end, ""},
		{"empty post", "POST /v1 HTTP/1.1\r\nHost: api.openai.com\r\nContent-Length: 0" + end, ""},
		{"empty delete", "DELETE /v1/files/x HTTP/1.1\r\nHost: api.openai.com\r\nContent-Length: 0" + end, ""},
		{
			"ours stay here", "GET /v1 HTTP/1.1\r\nHost: api.openai.com\r\nHalton-Client: 1\r\nhalton-x: 2" + end,
			"GET /v1 HTTP/1.1\r\nHost: api.openai.com" + end,
		},
		{
			"connection's own", "GET /v1 HTTP/1.1\r\nHost: api.openai.com\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nProxy-Authorization: Basic eA==" + end,
			"GET /v1 HTTP/1.1\r\nHost: api.openai.com" + end,
		},
	}
	r, heads := newRawRig(t, "HTTP/1.1 204 No Content\r\n\r\n")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want == "" {
				tt.want = tt.sent
			}
			conn := r.dialTLS(t)
			io.WriteString(conn, tt.sent)
			if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != 204 {
				t.Fatalf("answer: %+v, %v", res, err)
			}
			gotLine, got := fields(<-heads)
			wantLine, want := fields(tt.want)
			if gotLine != wantLine {
				t.Errorf("request line %q, want %q", gotLine, wantLine)
			}
			if !slices.Equal(got, want) {
				t.Errorf("fields\n%q, want\n%q", got, want)
			}
		})
	}
}

// TestResponse compares whole responses on the wire.
func TestResponse(t *testing.T) {
	tests := []struct{ name, request, answer string }{
		{"bare", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"},
		{"no content type for empty", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		{"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"},
		{"empty chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"fields", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAlt-Svc: h3=\":443\"\r\nDate: yesterday\r\nServer: cloudflare\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\nhi"},
		{"head", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nContent-Type: text/plain\r\n\r\n"},
		{"no content", "GET", "HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"},
		{"not modified", "GET", "HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\n\r\n"},
		{"redirect", "GET", "HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\nLocation: https://elsewhere/\r\n\r\n"},
		{"error", "GET", "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\nRetry-After: 3\r\n\r\n{}"},
		{"compressed", "GET", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08"},
		{"early hints", "GET", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"},
		{"closing", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"},
		{"trailer", "GET", "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := newRawRig(t, tt.answer)
			conn := r.dialTLS(t)
			fmt.Fprintf(conn, "%s /v1 HTTP/1.1\r\nHost: %s\r\n\r\n", tt.request, testHost)
			got := make([]byte, len(tt.answer))
			if n, err := io.ReadFull(conn, got); err != nil {
				t.Fatalf("%v after %q", err, got[:n])
			}
			if want := canonical(tt.answer); canonical(string(got)) != want {
				t.Errorf("got\n%q, want\n%q", canonical(string(got)), want)
			}
			// The next exchange begins where this one ended, or not at all.
			fmt.Fprintf(conn, "%s /v1 HTTP/1.1\r\nHost: %s\r\n\r\n", tt.request, testHost)
			first := make([]byte, 5)
			n, err := io.ReadFull(conn, first)
			if closing := strings.Contains(tt.answer, "Connection: close"); closing != (err != nil) || !closing && string(first) != "HTTP/" {
				t.Errorf("after the answer: %q, %v", first[:n], err)
			}
		})
	}
}

// TestNotModified: a response without a body may have the length of one.
func TestNotModified(t *testing.T) {
	each(t, func(t *testing.T, major int) {
		r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Etag", "x")
			w.Header().Set("Content-Length", "99")
			w.WriteHeader(http.StatusNotModified)
		})
		res, err := r.client(t, major).Do(newRequest(t, "GET", "/v1/models", nil))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusNotModified || res.Header.Get("Etag") != "x" {
			t.Errorf("%s %v", res.Status, res.Header)
		}
	})
}

// canonical sorts the fields of each head in a message, whose order net/http
// does not keep.
func canonical(message string) string {
	var out []string
	for part := range strings.SplitSeq(message, "\r\n\r\n") {
		lines := strings.Split(part, "\r\n")
		if strings.HasPrefix(part, "HTTP/") {
			slices.Sort(lines[1:])
		}
		out = append(out, strings.Join(lines, "\r\n"))
	}
	return strings.Join(out, "\r\n\r\n")
}

// TestHeaderH2 compares the header set that a provider sees of an HTTP/2
// client with and without the interceptor in between.
func TestHeaderH2(t *testing.T) {
	seen := make(chan http.Header, 1)
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		h := req.Header.Clone()
		h.Set(":path", req.RequestURI)
		h.Set(":authority", req.Host)
		h.Set("length", fmt.Sprint(req.ContentLength))
		seen <- h
	})
	via := r.client(t, 2)
	direct := r.client(t, 2)
	direct.Transport.(*http.Transport).DialContext = dialTo(r.provider.Listener.Addr())
	direct.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: r.RootCAs}
	for _, prepare := range []func(*http.Request){
		func(*http.Request) {},
		func(req *http.Request) { req.Header.Set("User-Agent", "") },
		func(req *http.Request) { req.Header.Set("Te", "trailers") },
		func(req *http.Request) { req.Header["X-Forwarded-For"] = []string{"1.2.3.4", "5.6.7.8"} },
		func(req *http.Request) { req.Header.Set("Cookie", "a=b; c=d") },
		func(req *http.Request) { req.Host = "Front.example:8443" },
		func(req *http.Request) { req.ContentLength = -1 },
		func(req *http.Request) { req.URL.RawQuery = "a;b&%zz" },
	} {
		var got []string
		for _, c := range []*http.Client{direct, via} {
			req := newRequest(t, "POST", "/v1/x", strings.NewReader("body"))
			prepare(req)
			do(t, c, req)
			var b bytes.Buffer
			(<-seen).Write(&b)
			got = append(got, b.String())
		}
		if got[0] != got[1] {
			t.Errorf("direct\n%s\nthrough us\n%s", got[0], got[1])
		}
	}
}

func TestTrailers(t *testing.T) {
	each(t, func(t *testing.T, major int) {
		r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
			io.Copy(io.Discard, req.Body)
			w.Header().Set("Trailer", "X-Declared")
			fmt.Fprint(w, req.Trailer.Get("X-Request"))
			w.Header().Set("X-Declared", "1")
			w.Header().Set(http.TrailerPrefix+"X-Late", "2")
		})
		req := newRequest(t, "POST", metered, io.NopCloser(strings.NewReader("body")))
		req.Trailer = http.Header{"X-Request": {"sent"}}
		res, body := do(t, r.client(t, major), req)
		if string(body) != "sent" {
			t.Errorf("the provider saw the trailer %q", body)
		}
		if res.Trailer.Get("X-Declared") != "1" || res.Trailer.Get("X-Late") != "2" {
			t.Errorf("trailers %v", res.Trailer)
		}
		r.record(t, tap.Completed)
	})
}

func TestInformational(t *testing.T) {
	each(t, func(t *testing.T, major int) {
		r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Link", "</a>")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("Link")
			fmt.Fprint(w, "final")
		})
		var hints []string
		req := newRequest(t, "POST", metered, strings.NewReader("body"))
		req = req.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				hints = append(hints, fmt.Sprint(code, h["Link"]))
				return nil
			},
		}))
		res, body := do(t, r.client(t, major), req)
		if !slices.Equal(hints, []string{"103 [</a>]"}) || string(body) != "final" || res.Header.Get("Link") != "" {
			t.Errorf("hints %q, then %q with %v", hints, body, res.Header)
		}
		r.record(t, tap.Completed)
	})
}

// counting tells whether a body was read.
type counting struct {
	io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// TestExpectContinue: in HTTP/2, net/http's server keeps the field to itself
// and lets the body come, so that there is nothing left to refuse.
func TestExpectContinue(t *testing.T) {
	each(t, func(t *testing.T, major int) {
		r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
			if major == 1 && req.Header.Get("Expect") != "100-continue" {
				t.Errorf("Expect: %q", req.Header.Get("Expect"))
			}
			if req.Header.Get("X-Refuse") != "" {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				return
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				t.Error(err)
			}
			w.Write(body)
		})
		for _, refuse := range []string{"", "yes"} {
			body := &counting{Reader: strings.NewReader("body")}
			req := newRequest(t, "POST", metered, body)
			req.ContentLength = 4
			req.Header.Set("Expect", "100-continue")
			req.Header.Set("X-Refuse", refuse)
			if refuse == "" {
				req.Header.Del("X-Refuse")
			}
			res, got := do(t, r.client(t, major), req)
			if refuse == "" && (string(got) != "body" || body.n != 4) {
				t.Errorf("accepted: %s %q, %d bytes sent", res.Status, got, body.n)
			}
			if refuse != "" && (res.StatusCode != 413 || major == 1 && body.n != 0) {
				t.Errorf("refused: %s, %d bytes sent", res.Status, body.n)
			}
			r.record(t, tap.Completed)
		}
	})
}

func dialTo(addr net.Addr) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr.String())
	}
}
