package capture

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/haltonlabs/halton-meter/internal/replay"
	"github.com/haltonlabs/halton-meter/meter/tap"
)

var recordings = flag.String("recordings", "../provider/testdata/recordings", "folder of recorded exchanges, one file for each provider")

// script is an exchange that the provider of a lockstep plays.
type script struct {
	request  []byte
	response [][]byte // each piece is flushed, and the client has it before the next
}

// lockstep is a rig whose provider sends a piece only when the client has read
// all that came before: so there are as many flushes as pieces.
type lockstep struct {
	*rig
	script   script
	got      chan struct{}
	request  []byte
	header   http.Header
	uri      string
	requests int
}

func newLockstep(t *testing.T) *lockstep {
	l := &lockstep{got: make(chan struct{})}
	l.rig = newRig(t, func(w http.ResponseWriter, req *http.Request) {
		l.header, l.uri = req.Header.Clone(), req.RequestURI
		l.requests++
		l.request, _ = io.ReadAll(req.Body)
		w.Header().Set("X-Custom-Case", "kept")
		for _, piece := range l.script.response {
			w.Write(piece)
			http.NewResponseController(w).Flush()
			select {
			case <-l.got:
			case <-req.Context().Done():
				return
			}
		}
	})
	return l
}

// play sends the script's request, in pieces of random sizes, and returns the
// response as the client read it.
func (l *lockstep) play(c *http.Client, method, uri string, s script) (body []byte, err error) {
	l.script = s
	u, err := url.Parse("https://" + testHost)
	if err != nil {
		return nil, err
	}
	u.Opaque = "//" + testHost + uri
	req := &http.Request{Method: method, URL: u, Host: testHost, Header: http.Header{
		"Content-Type": {"application/json"}, "Accept-Encoding": {"gzip, br"}, "X-Twice": {"1", "2"}, "User-Agent": {"test"},
	}, Body: io.NopCloser(&pieces{s.request}), ContentLength: int64(len(s.request))}
	res, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	buf := make([]byte, 32<<10)
	want := 0
	for _, piece := range s.response {
		for want += len(piece); len(body) < want; {
			n, err := res.Body.Read(buf)
			body = append(body, buf[:n]...)
			if err != nil && len(body) < want {
				return body, err
			}
		}
		l.got <- struct{}{}
	}
	rest, err := io.ReadAll(res.Body)
	return append(body, rest...), err
}

// pieces is a body that comes in pieces of random sizes.
type pieces struct{ b []byte }

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), 1+rand.IntN(5000))], p.b)
	p.b = p.b[n:]
	return n, nil
}

// check plays the script and compares what both ends got.
func (l *lockstep) check(t interface{ Fatalf(string, ...any) }, c *http.Client, method, uri string, s script) {
	body, err := l.play(c, method, uri, s)
	if want := slices.Concat(s.response...); err != nil || !bytes.Equal(body, want) {
		t.Fatalf("the client got %d bytes, %v; want %d", len(body), err, len(want))
	}
	if !bytes.Equal(l.request, s.request) || l.uri != uri {
		t.Fatalf("the provider got %d bytes at %s, want %d at %s", len(l.request), l.uri, len(s.request), uri)
	}
	want := http.Header{"Content-Type": {"application/json"}, "Accept-Encoding": {"gzip, br"}, "X-Twice": {"1", "2"}, "User-Agent": {"test"}}
	if len(s.request) > 0 {
		want["Content-Length"] = []string{fmt.Sprint(len(s.request))}
	}
	if !maps.EqualFunc(l.header, want, slices.Equal) {
		t.Fatalf("the provider got the header %v, want %v", l.header, want)
	}
	if uri == metered {
		if rec := <-l.records; rec.Outcome != tap.Completed {
			t.Fatalf("%+v", rec)
		}
	}
}

// TestRecordingsPass: recorded exchanges pass byte for byte, each piece of a
// response as soon as it was sent, over both versions of HTTP.
func TestRecordingsPass(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(*recordings, "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatal("no recordings in ", *recordings, err)
	}
	each(t, func(t *testing.T, major int) {
		l := newLockstep(t)
		c := l.client(t, major)
		for _, file := range files {
			for _, rec := range replay.Load(t, file) {
				u, err := url.Parse(rec.URL)
				if err != nil {
					t.Fatal(err)
				}
				l.check(t, c, rec.Method, u.RequestURI(), script{[]byte(rec.RequestBody), inEvents(rec.ResponseBody)})
			}
		}
		if l.requests < 100 {
			t.Errorf("only %d recordings", l.requests)
		}
		t.Logf("%d recordings", l.requests)
	})
}

// inEvents cuts a response where a provider would flush it.
func inEvents(body string) (out [][]byte) {
	for event := range strings.SplitAfterSeq(body, "\n\n") {
		if event != "" {
			out = append(out, []byte(event))
		}
	}
	return out
}

// TestAnyBytesPass: so do any bytes in any pieces.
func TestAnyBytesPass(t *testing.T) {
	each(t, func(t *testing.T, major int) {
		l := newLockstep(t)
		c := l.client(t, major)
		rapid.Check(t, func(t *rapid.T) {
			some := func(what string) []byte {
				b := make([]byte, rapid.SampledFrom([]int{0, 1, 17, 1000, 16384, 16385, 70_000}).Draw(t, what))
				r := rand.New(rand.NewPCG(1, uint64(len(b))))
				for i := range b {
					b[i] = byte(r.Uint32())
				}
				return b
			}
			s := script{request: some("request")}
			for range rapid.IntRange(0, 8).Draw(t, "pieces") {
				if piece := some("piece"); len(piece) > 0 {
					s.response = append(s.response, piece)
				}
			}
			path := rapid.SampledFrom([]string{metered, "/v1/models?a=%2f&b", "/%7Euser//x/../y;z?", "/v1/files/a%20b"}).Draw(t, "path")
			l.check(t, c, "POST", path, s)
		})
	})
}
