package tap_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/meter/tap"
)

type event struct{ Name, Data string }

// recorder is a parser that remembers what it was fed. Its usage is complete
// if the response came to its end.
type recorder struct {
	Requests []string
	Events   []event
	Bodies   []string
	Status   int
	EOF      bool

	onEvent func()
}

func (r *recorder) Request(body []byte) { r.Requests = append(r.Requests, string(body)) }

func (r *recorder) Event(name string, data []byte) {
	r.Events = append(r.Events, event{name, string(data)})
	if r.onEvent != nil {
		r.onEvent()
	}
}

func (r *recorder) Body(status int, body []byte) {
	r.Status, r.Bodies = status, append(r.Bodies, string(body))
}

func (r *recorder) Result(eof bool) provider.Result {
	r.EOF = eof
	res := provider.Result{Complete: eof}
	if !eof {
		res.Reason = "the response was cut"
	}
	return res
}

// exchange is one exchange of a test.
type exchange struct {
	tap       *tap.Tap // nil: one with default bounds
	reqHeader http.Header
	req       io.ReadCloser
	status    int // 0: 200
	header    http.Header
	resp      io.ReadCloser
	outcome   tap.Outcome // "": Completed
}

// pass sends the exchange through a tap, reading both bodies to their end as a
// relay does.
func (x exchange) pass(tb interface{ Fatalf(string, ...any) }) (tap.Record, *recorder) {
	p := &recorder{}
	records := make(chan tap.Record, 2)
	if x.tap == nil {
		x.tap = &tap.Tap{}
	}
	x.tap.NewParser = func(tap.Exchange) provider.Parser { return p }
	x.tap.Done = func(r tap.Record) { records <- r }
	if x.status == 0 {
		x.status = http.StatusOK
	}
	if x.outcome == "" {
		x.outcome = tap.Completed
	}

	f := x.tap.Start(tap.Exchange{ID: "1", Host: "api.example.com"})
	if body := f.Request(x.reqHeader, x.req); body != nil {
		_, _ = io.Copy(io.Discard, body)
		_ = body.Close()
	}
	if body := f.Response(x.status, x.header, x.resp); body != nil {
		_, _ = io.Copy(io.Discard, body)
		_ = body.Close()
	}
	f.End(x.outcome, nil)
	if err := x.tap.Flush(context.Background()); err != nil {
		tb.Fatalf("Flush: %v", err)
	}
	if n := len(records); n != 1 {
		tb.Fatalf("Done was called %d times, want once", n)
	}
	if used := x.tap.Used(); used != 0 {
		tb.Fatalf("%d bytes are still reserved after the record", used)
	}
	return <-records, p
}

// chunked is a body that gives its bytes in the given sizes, in turns, and then
// err.
type chunked struct {
	data  []byte
	sizes []int
	i     int
	err   error
}

func body(data string, sizes ...int) *chunked {
	return &chunked{data: []byte(data), sizes: sizes, err: io.EOF}
}

func (c *chunked) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, c.err
	}
	n := len(c.data)
	if len(c.sizes) > 0 {
		n = min(n, max(1, c.sizes[c.i%len(c.sizes)]))
		c.i++
	}
	n = copy(p, c.data[:n])
	c.data = c.data[n:]
	return n, nil
}

func (c *chunked) Close() error { return nil }

var errBroken = errors.New("connection reset")

func header(contentType string, encodings ...string) http.Header {
	h := http.Header{}
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	for _, e := range encodings {
		h.Add("Content-Encoding", e)
	}
	return h
}

// compress applies one coding. The name may ask for a variant: "deflate-raw",
// and "-parts" for several members or frames in a row.
func compress(coding string, data []byte) (encoding string, out []byte) {
	half := len(data) / 2
	var b bytes.Buffer
	switch coding {
	case "gzip":
		return "gzip", encode(&b, gzip.NewWriter(&b), data)
	case "gzip-parts":
		encode(&b, gzip.NewWriter(&b), data[:half])
		return "X-GZIP", encode(&b, gzip.NewWriter(&b), data[half:])
	case "deflate":
		return "deflate", encode(&b, zlib.NewWriter(&b), data)
	case "deflate-raw":
		w, _ := flate.NewWriter(&b, 1)
		return "deflate", encode(&b, w, data)
	case "br":
		return "br", encode(&b, brotli.NewWriter(&b), data)
	case "zstd":
		return "zstd", encode(&b, zstdWriter(&b), data)
	case "zstd-parts":
		encode(&b, zstdWriter(&b, zstd.WithEncoderCRC(false)), data[:half])
		b.WriteString("\x50\x2a\x4d\x18\x03\x00\x00\x00abc") // a skippable frame
		one := zstdWriter(nil)
		b.Write(one.EncodeAll(data[half:], nil)) // a single segment
		return "zstd", b.Bytes()
	}
	return "identity", data
}

var codings = []string{"identity", "gzip", "gzip-parts", "deflate", "deflate-raw", "br", "zstd", "zstd-parts"}

func encode(b *bytes.Buffer, w io.WriteCloser, data []byte) []byte {
	// A flush in the middle is what a server of events does.
	_, _ = w.Write(data[:len(data)/3])
	if f, ok := w.(interface{ Flush() error }); ok {
		_ = f.Flush()
	}
	_, _ = w.Write(data[len(data)/3:])
	_ = w.Close()
	return b.Bytes()
}

func zstdWriter(w io.Writer, opts ...zstd.EOption) *zstd.Encoder {
	enc, err := zstd.NewWriter(w, append(opts, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(64<<10))...)
	if err != nil {
		panic(err)
	}
	return enc
}

func noErr(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newTap returns a tap whose only parser is p and the channel of its records.
func newTap(p provider.Parser) (*tap.Tap, chan tap.Record) {
	records := make(chan tap.Record, 1000)
	return &tap.Tap{
		NewParser: func(tap.Exchange) provider.Parser { return p },
		Done:      func(r tap.Record) { records <- r },
	}, records
}
