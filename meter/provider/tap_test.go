package provider_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/meter/tap"
)

// pieces is a body that comes in pieces of the given sizes, in turns.
type pieces struct {
	text  string
	sizes []int
	turn  int
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.text == "" {
		return 0, io.EOF
	}
	n := copy(b, p.text[:min(p.sizes[p.turn%len(p.sizes)], len(p.text))])
	p.text, p.turn = p.text[n:], p.turn+1
	return n, nil
}

func (p *pieces) Close() error { return nil }

// through passes the recording through a tap, as the relay does.
func through(r provider.Recording, e provider.Endpoint, sizes []int) (rec tap.Record, err error) {
	t := &tap.Tap{Done: func(done tap.Record) { rec = done }}
	flow := t.Start(tap.Exchange{ID: r.Source, Endpoint: e})
	contentType := r.ContentType
	if contentType == "" {
		contentType = "application/json"
		if r.Stream {
			contentType = "text/event-stream"
		}
	}
	for _, body := range []io.ReadCloser{
		flow.Request(http.Header{}, &pieces{text: r.RequestBody, sizes: sizes}),
		flow.Response(r.Status, http.Header{"Content-Type": {contentType}}, &pieces{text: r.ResponseBody, sizes: sizes}),
	} {
		_, copyErr := io.Copy(io.Discard, body)
		err = errors.Join(err, copyErr, body.Close())
	}
	flow.End(tap.Completed, nil)
	return rec, errors.Join(err, t.Flush(context.Background()))
}

// TestRecordingsThroughATap checks that recordings give the usage that they
// name in whatever pieces they come.
func TestRecordingsThroughATap(t *testing.T) {
	for _, name := range []string{"anthropic", "openai", "gemini", "groq", "mistral", "deepseek", "openrouter"} {
		recordings := provider.Read(t, name+".jsonl")
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				r := rapid.SampledFrom(recordings).Draw(rt, "recording")
				u, err := url.Parse(r.URL)
				if err != nil {
					rt.Fatal(err)
				}
				e, ok := provider.Lookup(r.Method, u.Hostname(), u.Path)
				if !ok {
					return
				}
				// Tiny pieces of large bodies only cost time.
				least := 1 + len(r.ResponseBody)/5000
				sizes := rapid.SliceOfN(rapid.IntRange(least, 40*least), 1, 5).Draw(rt, "sizes")
				got, err := through(r, e, sizes)
				if err != nil || got.Dropped > 0 {
					rt.Fatalf("%v, %d bytes dropped", err, got.Dropped)
				}
				if diff := cmp.Diff(r.Oracle(t), got.Usage); diff != "" {
					rt.Fatalf("%s in pieces of %v (-oracle +record):\n%s", r.Source, sizes, diff)
				}
			})
		})
	}
}
