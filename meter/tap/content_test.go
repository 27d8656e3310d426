package tap_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/haltonlabs/halton-meter/meter/tap"
)

// TestRequestIsDecoded: the request reaches the parser once, decoded, and
// before any of the response.
func TestRequestIsDecoded(t *testing.T) {
	text := `{"model":"m","text":"` + strings.Repeat("abc ", 50_000) + `"}`
	for _, coding := range codings {
		encoding, data := compress(coding, []byte(text))
		_, p := exchange{
			reqHeader: header("application/json", encoding),
			req:       body(string(data), 7000),
			header:    header("application/json"),
			resp:      body("{}"),
		}.pass(t)
		if diff := cmp.Diff([]string{text}, p.Requests); diff != "" {
			t.Errorf("%s (-want +got):\n%.500s", coding, diff)
		}
	}
}

// TestTruncatedCompression: what was decoded before the cut counts, and the
// response is not taken for whole, even where HTTP saw no cut.
func TestTruncatedCompression(t *testing.T) {
	var text strings.Builder
	for range 2000 {
		text.WriteString("data: {\"text\":\"a bit of a stream\"}\n\n")
	}
	rapid.Check(t, func(t *rapid.T) {
		coding := rapid.SampledFrom(codings[1:]).Draw(t, "coding")
		encoding, data := compress(coding, []byte(text.String()))
		keep := rapid.IntRange(1, len(data)-1).Draw(t, "keep")
		if coding == "gzip-parts" && keep > 100 && bytes.HasPrefix(data[keep:], []byte{0x1f, 0x8b, 8}) {
			return // between two members nothing is missing
		}
		if coding == "zstd-parts" && (bytes.HasPrefix(data[keep:], []byte("\x50\x2a\x4d\x18")) ||
			bytes.HasPrefix(data[keep:], []byte("\x28\xb5\x2f\xfd"))) {
			return // nor between two frames, of which one may be skippable
		}
		rec, p := exchange{header: header(sse, encoding), resp: body(string(data[:keep]), 100)}.pass(t)
		if p.EOF || rec.Complete || rec.Reason == "" {
			t.Fatalf("%d of %d bytes: eof %v, complete %v, reason %q", keep, len(data), p.EOF, rec.Complete, rec.Reason)
		}
		for _, e := range p.Events {
			if e.Data != `{"text":"a bit of a stream"}` {
				t.Fatalf("event %q is not in the stream", e.Data)
			}
		}
	})
	// Close to the end, nearly all of it is there.
	for _, coding := range []string{"gzip", "deflate", "deflate-raw"} {
		encoding, data := compress(coding, []byte(text.String()))
		_, p := exchange{header: header(sse, encoding), resp: body(string(data[:len(data)-1]))}.pass(t)
		if len(p.Events) < 1900 {
			t.Errorf("%s: %d of 2000 events, although one byte was missing", coding, len(p.Events))
		}
	}
}

func TestBadCodings(t *testing.T) {
	_, zipped := compress("gzip", []byte("{}"))
	for name, tc := range map[string]struct {
		encodings []string
		body      string
		reason    string
	}{
		"unknown":       {[]string{"compress"}, "x", "unknown content coding"},
		"too many":      {[]string{"gzip, gzip", "gzip", "br"}, "x", "4 content codings, more than 3"},
		"not gzip":      {[]string{"gzip"}, "{\"a\":1}      ", "gzip: invalid header"},
		"not zlib":      {[]string{"deflate"}, "\x78\x9c\xff\xff\xff", "flate: corrupt input"},
		"not br":        {[]string{"br"}, "\xff\xff\xff\xff\xff\xff", "brotli: "},
		"not zstd":      {[]string{"zstd"}, "{\"a\":1}      ", "magic"},
		"junk after":    {[]string{"gzip"}, string(zipped) + "0123456789", "gzip: invalid header"},
		"window":        {[]string{"zstd"}, "\x28\xb5\x2f\xfd\x00\x70" + strings.Repeat("\x00", 20), "RFC 9659"},
		"inner unknown": {[]string{"aws-chunked", "gzip"}, string(zipped), "unknown content coding"},
	} {
		t.Run(name, func(t *testing.T) {
			rec, p := exchange{status: 500, header: header("application/json", tc.encodings...), resp: body(tc.body)}.pass(t)
			if rec.Complete || p.EOF || !strings.Contains(rec.Reason, tc.reason) {
				t.Errorf("complete %v, eof %v, reason %q; want one with %q", rec.Complete, p.EOF, rec.Reason, tc.reason)
			}
			if len(p.Bodies) != 1 || p.Status != 500 {
				t.Errorf("the parser got %d bodies and status %d", len(p.Bodies), p.Status)
			}
		})
	}
	t.Run("empty body", func(t *testing.T) {
		rec, p := exchange{header: header("application/json", "gzip"), resp: body("")}.pass(t)
		if !rec.Complete || !p.EOF || rec.Reason != "" {
			t.Errorf("complete %v, eof %v, reason %q", rec.Complete, p.EOF, rec.Reason)
		}
	})
}

// TestInflationIsCapped: a small body that expands to much more than MaxBody
// costs no more memory than allowed.
func TestInflationIsCapped(t *testing.T) {
	const limit = 256 << 10
	bomb := make([]byte, 8<<20)
	for _, coding := range codings[1:] {
		encoding, data := compress(coding, bomb)
		small := &tap.Tap{MaxBody: limit}
		rec, p := exchange{
			tap:       small,
			reqHeader: header("", encoding),
			req:       body(string(data), 1000),
			header:    header("application/json", encoding),
			resp:      body(string(data), 1000),
		}.pass(t)
		if len(p.Requests) != 1 || len(p.Requests[0]) != limit {
			t.Errorf("%s: the request was not cut at %d", coding, limit)
		}
		if len(p.Bodies) != 1 || len(p.Bodies[0]) != limit || p.EOF {
			t.Errorf("%s: the response was not cut at %d", coding, limit)
		}
		if rec.Complete || !strings.Contains(rec.Reason, "longer than its limit") || rec.Dropped != 0 {
			t.Errorf("%s: complete %v, reason %q, dropped %d", coding, rec.Complete, rec.Reason, rec.Dropped)
		}
	}
}

// TestWindowIsReserved: a decompressor whose window does not fit into MaxTotal
// is not started.
func TestWindowIsReserved(t *testing.T) {
	var large bytes.Buffer
	w, err := zstd.NewWriter(&large, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8<<20))
	noErr(t, err)
	// Small frames first, so that the large window is not the first one.
	_, data := compress("zstd-parts", []byte("data: 1\n\ndata: 2\n\n"))
	encode(&large, w, bytes.Repeat([]byte("data: 3\n\n"), 1000))
	data = append(data, large.Bytes()...)

	rec, p := exchange{tap: &tap.Tap{MaxTotal: 4 << 20}, header: header(sse, "zstd"), resp: body(string(data))}.pass(t)
	if rec.Complete || !strings.Contains(rec.Reason, "memory is used up") {
		t.Errorf("complete %v, reason %q", rec.Complete, rec.Reason)
	}
	if len(p.Events) < 2 {
		t.Errorf("%d events, want at least those of the small frames", len(p.Events))
	}
	rec, p = exchange{tap: &tap.Tap{MaxTotal: 16 << 20}, header: header(sse, "zstd"), resp: body(string(data))}.pass(t)
	if !rec.Complete || len(p.Events) != 1002 {
		t.Errorf("with room: complete %v, reason %q, %d events; want 1002", rec.Complete, rec.Reason, len(p.Events))
	}
}

// FuzzContent feeds the decompressors what no server would send. The bytes are
// decoded as far as the libraries can, when read at once.
func FuzzContent(f *testing.F) {
	for i, coding := range codings[1:] {
		_, data := compress(coding, []byte("data: {\"a\":1}\n\ndata: [DONE]\n\n"))
		f.Add(data, uint8(i), uint8(9))
		f.Add(data[:len(data)-2], uint8(i), uint8(1))
	}
	f.Add([]byte("\x28\xb5\x2f\xfd\x00\x70\x00\x00\x00"), uint8(5), uint8(3))
	names := []string{"gzip", "gzip", "deflate", "deflate", "br", "zstd", "zstd", "zstd,gzip"}
	f.Fuzz(func(t *testing.T, data []byte, coding, size uint8) {
		name := names[int(coding)%len(names)]
		rec, p := exchange{
			tap:    &tap.Tap{MaxBody: 1 << 20},
			header: header("text/plain", name),
			resp:   body(string(data), int(size)),
		}.pass(t)
		if rec.Complete != p.EOF || rec.Dropped != 0 {
			t.Fatalf("complete %v, eof %v, dropped %d", rec.Complete, p.EOF, rec.Dropped)
		}
		if strings.Contains(rec.Reason, "panicked") {
			t.Fatal(rec.Reason)
		}
		if want, err := decodeAtOnce(name, data); err == nil && p.EOF && len(p.Bodies) == 1 {
			want = bytes.TrimPrefix(want, []byte("\ufeff"))
			if p.Bodies[0] != string(want) {
				t.Fatalf("%s: decoded %.100q, want %.100q", name, p.Bodies[0], want)
			}
		}
	})
}

func decodeAtOnce(coding string, data []byte) ([]byte, error) {
	switch coding {
	case "br":
		return io.ReadAll(io.LimitReader(brotli.NewReader(bytes.NewReader(data)), 1<<20))
	case "zstd":
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<20))
		if err != nil {
			return nil, err
		}
		defer dec.Close()
		return dec.DecodeAll(data, nil)
	}
	return nil, errors.ErrUnsupported
}

// TestRequestIsCutByTheResponse: a provider that answers early leaves the
// request's rest unread; the parser gets what came before.
func TestRequestIsCutByTheResponse(t *testing.T) {
	p := &recorder{}
	tp, records := newTap(p)
	f := tp.Start(tap.Exchange{})
	req := f.Request(http.Header{}, body("first second", 6))
	_, err := io.ReadFull(req, make([]byte, 6))
	noErr(t, err)
	_, err = io.ReadAll(f.Response(413, header("application/json"), body("{}")))
	noErr(t, err)
	_, err = io.ReadAll(req)
	noErr(t, err)
	f.End(tap.Completed, nil)
	rec := <-records
	if diff := cmp.Diff([]string{"first "}, p.Requests); diff != "" || !rec.Complete || rec.Dropped != 0 {
		t.Errorf("complete %v, dropped %d (-want +got):\n%s", rec.Complete, rec.Dropped, diff)
	}
}
