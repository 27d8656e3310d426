package capture

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/meter/tap"
)

// plainStream is a stream of chat completions as a client gets it that did not
// ask for usage, and askedStream the same for one that did.
const (
	plainStream = "data: {\"id\":\"c1\",\"model\":\"gpt-5\",\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":null,\"}}]}\n\n" +
		": a comment\n\n" +
		"data: {\"id\":\"c1\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\r\n\r\n" +
		"data: [DONE]\n\n"
	askedStream = "data: {\"id\":\"c1\",\"model\":\"gpt-5\",\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":null,\"}}],\"usage\":null}\n\n" +
		": a comment\n\n" +
		"data: {\"id\":\"c1\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\r\n\r\n" +
		"data: {\"id\":\"c1\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}}\n\n" +
		"data: [DONE]\n\n"
)

// askingRig has a provider that streams as OpenAI does, and tells what it was
// asked.
func askingRig(t *testing.T, asked chan<- *http.Request) *rig {
	return newRig(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.ContentLength >= 0 && r.ContentLength != int64(len(body)) {
			t.Errorf("Content-Length %d for %d bytes", r.ContentLength, len(body))
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		asked <- r
		stream := plainStream
		if bytes.Contains(body, []byte(`"include_usage":true`)) {
			stream = askedStream
		}
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		for i := range len(stream) {
			io.WriteString(w, stream[i:i+1])
			if i%7 == 0 {
				http.NewResponseController(w).Flush()
			}
		}
	}, func(r *rig) {
		r.IncludeUsage = true
		r.Lookup = func(_, host, path string) (provider.Endpoint, bool) {
			return provider.Endpoint{Provider: "openai", Format: provider.FormatOpenAIChat, Kind: provider.KindChat}, host == testHost && path == metered
		}
		r.Tap.NewParser = func(x tap.Exchange) provider.Parser { return x.Endpoint.NewParser() }
	})
}

// TestIncludeUsage: the request asks for the usage, the record has it, and the
// client reads what it would have read without.
func TestIncludeUsage(t *testing.T) {
	each(t, func(t *testing.T, major int) {
		asked := make(chan *http.Request, 1)
		r := askingRig(t, asked)
		const request = `{"model":"gpt-5","stream":true}`
		for _, length := range []int64{int64(len(request)), -1} {
			req := newRequest(t, "POST", metered, io.NopCloser(strings.NewReader(request)))
			req.ContentLength = length
			req.Header.Set("Accept-Encoding", "gzip, br")
			res, body := do(t, r.client(t, major), req)
			if string(body) != plainStream || res.StatusCode != http.StatusOK {
				t.Errorf("the client read %q", body)
			}
			seen := <-asked
			sent, _ := io.ReadAll(seen.Body)
			if string(sent) != `{"stream_options":{"include_usage":true},"model":"gpt-5","stream":true}` || seen.Header.Get("Accept-Encoding") != "identity" {
				t.Errorf("the provider was asked %s, %v", sent, seen.Header)
			}
			rec := r.record(t, tap.Completed)
			if rec.Usage == nil || rec.Usage.Input != 7 || rec.Usage.Output != 3 || !rec.Complete {
				t.Errorf("the record has %+v (%s)", rec.Usage, rec.Reason)
			}
		}
	})
}

// TestIncludeUsageLeavesAlone: nothing is changed that is not a plain request
// for a stream whose client made no choice.
func TestIncludeUsageLeavesAlone(t *testing.T) {
	for name, tt := range map[string]struct {
		request        string
		header, value  string
		off            bool
		wantStream     string
		wantUsageKnown bool
	}{
		"the client's own choice": {request: `{"stream":true,"stream_options":{"include_usage":true}}`, wantStream: askedStream, wantUsageKnown: true},
		"the client's refusal":    {request: `{"stream":true,"stream_options":{"include_usage":false}}`, wantStream: plainStream},
		"no stream":               {request: `{"model":"gpt-5"}`, wantStream: plainStream},
		"compressed":              {request: `{"stream":true}`, header: "Content-Encoding", value: "gzip", wantStream: plainStream},
		"vouched for":             {request: `{"stream":true}`, header: "Content-Digest", value: "sha-256=:x:", wantStream: plainStream},
		"no JSON":                 {request: `stream`, wantStream: plainStream},
		"nobody wants it":         {request: `{"stream":true}`, off: true, wantStream: plainStream},
		"too large":               {request: `{"stream":true,"x":"` + strings.Repeat("x", maxAsking) + `"}`, wantStream: plainStream},
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan *http.Request, 1)
			r := askingRig(t, asked)
			r.IncludeUsage = !tt.off
			req := newRequest(t, "POST", metered, strings.NewReader(tt.request))
			req.Header.Set("Accept-Encoding", "br")
			if tt.header != "" {
				req.Header.Set(tt.header, tt.value)
			}
			if _, body := do(t, r.client(t, 1), req); string(body) != tt.wantStream {
				t.Errorf("the client read %q", body)
			}
			seen := <-asked
			if sent, _ := io.ReadAll(seen.Body); string(sent) != tt.request || seen.Header.Get("Accept-Encoding") != "br" {
				t.Errorf("the provider was asked %.200s, %v", sent, seen.Header)
			}
			if rec := r.record(t, tap.Completed); (rec.Usage != nil) != tt.wantUsageKnown {
				t.Errorf("the record has %+v", rec.Usage)
			}
		})
	}
}

// TestUsageFilter: events come out the same however the bytes come in, and
// nothing is held back that is whole.
func TestUsageFilter(t *testing.T) {
	long := "data: " + strings.Repeat("x", 3*maxEvent) + "\n\n"
	for in, want := range map[string]string{
		askedStream:                  plainStream,
		plainStream:                  plainStream,
		askedStream + "data: {\"cut": plainStream + "data: {\"cut",
		long + askedStream:           long + plainStream,
		"event: x\ndata: {\"choices\":[],\"usage\":{}}\n\n": "event: x\ndata: {\"choices\":[],\"usage\":{}}\n\n",
		"data: {\"choices\":[],\ndata: \"usage\":{}}\n\n":   "data: {\"choices\":[],\ndata: \"usage\":{}}\n\n",
		"\n\n\r\n\r\n": "\n\n\r\n\r\n",
		"":             "",
	} {
		for name, src := range map[string]io.Reader{
			"whole":      strings.NewReader(in),
			"one by one": iotest.OneByteReader(strings.NewReader(in)),
			"halves":     iotest.HalfReader(strings.NewReader(in)),
			"with EOF":   iotest.DataErrReader(strings.NewReader(in)),
		} {
			if len(in) > maxEvent && name == "one by one" {
				continue
			}
			got, err := io.ReadAll(&usageFilter{src: io.NopCloser(src)})
			if err != nil || string(got) != want {
				t.Errorf("%s, %.60q: got %.200q (%d bytes), want %d; %v", name, in, got, len(got), len(want), err)
			}
		}
	}
	broken := errors.New("broken")
	got, err := io.ReadAll(&usageFilter{src: io.NopCloser(io.MultiReader(strings.NewReader(askedStream+"data: {"), failing{broken}))})
	if !errors.Is(err, broken) || string(got) != plainStream+"data: {" {
		t.Errorf("a stream that breaks off: %q, %v", got, err)
	}
	// A whole event is out before the next one begins.
	src, feed := io.Pipe()
	f := &usageFilter{src: src}
	for n, event := range strings.SplitAfter(plainStream, "\n\n")[:2] {
		go io.WriteString(feed, event)
		buf := make([]byte, len(event))
		if _, err := io.ReadFull(f, buf); err != nil || string(buf) != event {
			t.Fatalf("event %s: %q, %v", strconv.Itoa(n), buf, err)
		}
	}
	f.Close()
}
