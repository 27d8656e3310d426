package tap_test

import (
	"bytes"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/meter/tap"
)

const oneEvent = "data: 45678\n\n" // 13 bytes

// TestDrop: while the parser is stuck, the queue takes exactly MaxQueue bytes;
// what follows is counted, whatever the sizes of the reads, and nothing after
// the gap is parsed.
func TestDrop(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		maxQueue := rapid.IntRange(1, 40_000).Draw(rt, "MaxQueue")
		sizes := rapid.SliceOfN(rapid.IntRange(1, 30_000), 1, 4).Draw(rt, "sizes")
		stream := strings.Repeat(oneEvent, 5000)
		synctest.Test(t, func(t *testing.T) {
			gate := make(chan struct{})
			stuck := false
			p := &recorder{onEvent: func() { stuck = true; <-gate }}
			tp, records := newTap(p)
			tp.MaxQueue = maxQueue
			var log bytes.Buffer
			tp.Logger = slog.New(slog.NewJSONHandler(&log, nil))

			f := tp.Start(tap.Exchange{ID: "7"})
			resp := f.Response(200, header(sse), body(stream, sizes...))
			// Byte by byte, until the parser has taken all that was queued.
			parsed := 0
			for ; !stuck; parsed++ {
				_, err := io.ReadFull(resp, make([]byte, 1))
				noErr(t, err)
				synctest.Wait()
			}
			rest, err := io.Copy(io.Discard, resp)
			noErr(t, err)
			if parsed+int(rest) != len(stream) {
				t.Fatalf("the client read %d bytes of %d", parsed+int(rest), len(stream))
			}
			f.End(tap.Completed, nil)
			close(gate)
			rec := <-records

			queued := min(maxQueue, int(rest))
			if want := rest - int64(queued); rec.Dropped != want {
				t.Fatalf("dropped %d, want %d", rec.Dropped, want)
			}
			// Nothing is taken for an event that was cut within a line.
			if want := (parsed + queued + 1) / len(oneEvent); len(p.Events) != want {
				t.Fatalf("%d events, want %d", len(p.Events), want)
			}
			for _, e := range p.Events {
				if e.Data != "45678" {
					t.Fatalf("event %q is not in the stream", e.Data)
				}
			}
			if lost := rec.Dropped > 0; rec.Complete == lost || p.EOF == lost || strings.Contains(rec.Reason, "no room") != lost || strings.Contains(log.String(), "tap.flow.dropped") != lost {
				t.Fatalf("complete %v, eof %v, reason %q, log %s", rec.Complete, p.EOF, rec.Reason, &log)
			}
		})
	})
}

// TestDroppedRequest: a request that is cut is counted as well, and the
// response is still read.
func TestDroppedRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		p := &recorder{}
		tp, records := newTap(p)
		tp.MaxQueue = 100
		tp.NewParser = func(tap.Exchange) provider.Parser { <-gate; return p }
		f := tp.Start(tap.Exchange{})
		_, err := io.ReadAll(f.Request(header(""), body(strings.Repeat("r", 150), 60)))
		noErr(t, err)
		close(gate)
		synctest.Wait()
		_, err = io.ReadAll(f.Response(200, header(sse), body(oneEvent)))
		noErr(t, err)
		f.End(tap.Completed, nil)
		rec := <-records
		if diff := cmp.Diff([]string{strings.Repeat("r", 100)}, p.Requests); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
		if rec.Dropped != 50 || rec.Complete || !p.EOF || len(p.Events) != 1 {
			t.Errorf("dropped %d, complete %v, eof %v, %d events", rec.Dropped, rec.Complete, p.EOF, len(p.Events))
		}
	})
}

// TestLargeBodyWaits: an answer with a few generated images that comes before
// the parser has its turn is read whole. Its usage is at its end.
func TestLargeBodyWaits(t *testing.T) {
	large := strings.Repeat("x", 12<<20)
	for name, contentType := range map[string]string{"a document": "application/json", "an event": sse} {
		t.Run(name, func(t *testing.T) {
			gate := make(chan struct{})
			p := &recorder{}
			tp, records := newTap(p)
			tp.NewParser = func(tap.Exchange) provider.Parser { <-gate; return p }
			f := tp.Start(tap.Exchange{})
			text := large
			if contentType == sse {
				text = "data: " + large + "\n\n"
			}
			_, err := io.Copy(io.Discard, f.Response(200, header(contentType), body(text, 32<<10)))
			noErr(t, err)
			f.End(tap.Completed, nil)
			close(gate)
			rec := <-records
			got := strings.Join(p.Bodies, "")
			for _, e := range p.Events {
				got += e.Data
			}
			if rec.Dropped != 0 || !rec.Complete || got != large {
				t.Errorf("dropped %d, complete %v (%s), %d bytes of %d", rec.Dropped, rec.Complete, rec.Reason, len(got), len(large))
			}
		})
	}
}

// TestMemoryIsBounded: 500 flows whose parsers are stuck never hold more than
// MaxTotal, the clients get all bytes meanwhile, and every flow has its record
// afterwards.
func TestMemoryIsBounded(t *testing.T) {
	const flows, maxTotal = 500, 16 << 20
	text := []byte(strings.Repeat("data: {\"some\":\"text\"}\n\n", 10_000))
	bodies := make(map[string][]byte)
	for _, coding := range []string{"identity", "gzip", "zstd", "br"} {
		_, bodies[coding] = compress(coding, text)
	}
	before := heap()

	gate := make(chan struct{})
	var mu sync.Mutex
	dropped, records := 0, 0
	tp := &tap.Tap{
		MaxTotal:  maxTotal,
		NewParser: func(tap.Exchange) provider.Parser { return stuck(gate) },
		Done: func(r tap.Record) {
			mu.Lock()
			defer mu.Unlock()
			records++
			if r.Dropped > 0 {
				dropped++
			}
		},
	}
	var wg sync.WaitGroup
	for i := range flows {
		coding := []string{"identity", "gzip", "zstd", "br"}[i%4]
		wg.Go(func() {
			f := tp.Start(tap.Exchange{})
			req := f.Request(header(""), io.NopCloser(bytes.NewReader(text)))
			if n, err := io.Copy(io.Discard, req); n != int64(len(text)) || err != nil {
				t.Errorf("the request's relay read %d bytes: %v", n, err)
			}
			data := bodies[coding]
			resp := f.Response(200, header(sse, coding), io.NopCloser(bytes.NewReader(data)))
			if n, err := io.Copy(io.Discard, resp); n != int64(len(data)) || err != nil {
				t.Errorf("the response's relay read %d bytes: %v", n, err)
			}
			f.End(tap.Completed, nil)
			if used := tp.Used(); used > maxTotal {
				t.Errorf("%d bytes reserved, more than MaxTotal", used)
			}
		})
	}
	wg.Wait() // with the gate shut: no relay waited for a parser

	if used := tp.Used(); used > maxTotal || used < maxTotal/2 {
		t.Errorf("%d bytes reserved, want most of MaxTotal and no more", used)
	}
	// The test's own bodies and the flows themselves are in it too.
	if held := heap() - before; held > maxTotal*5/4 {
		t.Errorf("the heap grew by %d bytes, MaxTotal is %d", held, maxTotal)
	}
	close(gate)
	noErr(t, tp.Flush(t.Context()))
	if records != flows || dropped == 0 {
		t.Errorf("%d records, %d with drops; want %d, some of them with drops", records, dropped, flows)
	}
	if tp.Used() != 0 {
		t.Errorf("%d bytes are still reserved", tp.Used())
	}
}

func heap() int64 {
	var m runtime.MemStats
	// Twice, because a sync.Pool lets go of its content at the second.
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// stuck is a parser that does nothing until the gate opens.
type stuck chan struct{}

func (s stuck) Request([]byte)              { <-s }
func (s stuck) Event(string, []byte)        { <-s }
func (s stuck) Body(int, []byte)            { <-s }
func (s stuck) Result(bool) provider.Result { <-s; return provider.Result{Complete: true} }

// TestRelayDoesNotWaitForDone: exchange after exchange passes while the first
// record's Done is stuck.
func TestRelayDoesNotWaitForDone(t *testing.T) {
	gate := make(chan struct{})
	tp, records := newTap(&recorder{})
	done := tp.Done
	tp.Done = func(r tap.Record) { <-gate; done(r) }
	tp.NewParser = func(tap.Exchange) provider.Parser { return &recorder{} }
	for range 200 {
		f := tp.Start(tap.Exchange{})
		text := strings.Repeat(oneEvent, 100)
		if data, err := io.ReadAll(f.Response(200, header(sse), body(text))); string(data) != text || err != nil {
			t.Fatalf("the client read %d bytes: %v", len(data), err)
		}
		f.End(tap.Completed, nil)
	}
	close(gate)
	noErr(t, tp.Close(t.Context()))
	if len(records) != 200 {
		t.Errorf("%d records, want 200", len(records))
	}
}

// TestLargeBody: a body up to MaxBody is kept whole.
func TestLargeBody(t *testing.T) {
	text := `{"data":[` + strings.Repeat("1,", 150_000) + `1]}`
	for limit, whole := range map[int]bool{len(text): true, len(text) - 1: false} {
		rec, p := exchange{
			tap:       &tap.Tap{MaxBody: limit},
			reqHeader: header(""),
			req:       body(text, 5000),
			header:    header("application/json"),
			resp:      body(text, 5000),
		}.pass(t)
		if rec.Complete != whole || p.Requests[0] != text[:limit] || p.Bodies[0] != text[:limit] {
			t.Errorf("with MaxBody %d: complete %v, request of %d bytes, body of %d", limit, rec.Complete, len(p.Requests[0]), len(p.Bodies[0]))
		}
		if !whole && !strings.Contains(rec.Reason, "longer than its limit") {
			t.Errorf("reason %q", rec.Reason)
		}
	}
}

// endless is a large body, a repeated text.
type endless struct {
	text string
	left int
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) && e.left > 0 {
		k := copy(p[n:min(len(p), n+e.left)], e.text[e.at:])
		n, e.left, e.at = n+k, e.left-k, (e.at+k)%len(e.text)
	}
	return n, nil
}

func (e *endless) Close() error { return nil }

// TestHugeResponse: what a response of 200 MB costs does not grow with it.
func TestHugeResponse(t *testing.T) {
	const size = 200 << 20
	for _, tt := range []struct {
		name, contentType string
		most              int64
	}{
		{"a stream", sse, tap.DefaultMaxQueue + 64<<10},
		// The body that is kept is copied once as it grows.
		{"a document", "application/json", tap.DefaultMaxQueue + 2*tap.DefaultMaxBody + 64<<10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tp, records := newTap(&counter{})
			f := tp.Start(tap.Exchange{})
			resp := f.Response(200, header(tt.contentType), &endless{text: "data: {\"some\":\"text\"}\n\n", left: size})
			var read, peak int64
			for p := make([]byte, 32<<10); ; {
				n, err := resp.Read(p)
				read, peak = read+int64(n), max(peak, tp.Used())
				if err != nil {
					break
				}
			}
			f.End(tap.Completed, nil)
			noErr(t, tp.Flush(t.Context()))
			if <-records; read != size || peak > tt.most || peak == 0 {
				t.Errorf("the client read %d bytes, and the tap held %d, at most %d are allowed", read, peak, tt.most)
			}
			if used := tp.Used(); used != 0 {
				t.Errorf("%d bytes are still reserved", used)
			}
		})
	}
}

// counter is a parser that keeps nothing.
type counter struct{ events int }

func (c *counter) Request([]byte)              {}
func (c *counter) Event(string, []byte)        { c.events++ }
func (c *counter) Body(int, []byte)            {}
func (c *counter) Result(bool) provider.Result { return provider.Result{Complete: true} }
