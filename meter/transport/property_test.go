package transport_test

import (
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/haltonlabs/halton-meter/internal/replay"
	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/meter/transport"
)

// cuts makes pieces of text at any places.
func cuts(t *rapid.T, text string) (parts []string) {
	for len(text) > 0 {
		n := rapid.IntRange(1, min(len(text), 1+rapid.SampledFrom([]int{1, 7, 100, 5000}).Draw(t, "up to"))).Draw(t, "n")
		parts, text = append(parts, text[:n]), text[n:]
	}
	return parts
}

// However the bytes come and are read, the program gets them all, and the
// record is the same.
func TestAnyPieces(t *testing.T) {
	var recs []replay.Recording
	for _, name := range []string{"anthropic", "openai", "gemini"} {
		for i, r := range replay.Load(t, "../provider/testdata/recordings/"+name+".jsonl") {
			u, err := url.Parse(r.URL)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := provider.Lookup(r.Method, u.Hostname(), u.Path); ok && i%8 == 0 && len(r.ResponseBody) < 20_000 {
				recs = append(recs, r)
			}
		}
	}
	pass := func(t tb, r replay.Recording, body io.ReadCloser, read int) (string, transport.Record) {
		sink := &records{t: t}
		m := &transport.Transport{Sink: sink, Base: roundTrip(func(req *http.Request) (*http.Response, error) {
			_, err := io.Copy(io.Discard, req.Body)
			return respond(r.Status, r.ContentType, body), err
		})}
		req, err := http.NewRequest(r.Method, r.URL, strings.NewReader(r.RequestBody))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := m.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		if _, err := io.CopyBuffer(&got, struct{ io.Reader }{resp.Body}, make([]byte, read)); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		rec := sink.only(m)
		rec.ID, rec.RequestedAt, rec.Latency, rec.FirstByte = "", rec.RequestedAt.Truncate(1<<62), 0, 0
		return got.String(), rec
	}
	rapid.Check(t, func(t *rapid.T) {
		r := rapid.SampledFrom(recs).Draw(t, "recording")
		_, want := pass(t, r, io.NopCloser(strings.NewReader(r.ResponseBody)), 32<<10)
		body := &pieces{pieces: cuts(t, r.ResponseBody), err: io.EOF}
		got, rec := pass(t, r, body, rapid.IntRange(1, 10_000).Draw(t, "buffer"))
		if got != r.ResponseBody {
			t.Errorf("the program read other bytes: %q", got)
		}
		if body.closed != 1 {
			t.Errorf("the body was closed %d times", body.closed)
		}
		if !reflect.DeepEqual(rec, want) {
			t.Errorf("got %+v\nwant %+v", rec, want)
		}
	})
}
