package tap_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/meter/tap"
)

// timed is a body whose bytes come after a pause.
type timed struct {
	parts []string
	pause time.Duration
}

func (b *timed) Read(p []byte) (int, error) {
	time.Sleep(b.pause)
	if len(b.parts) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.parts[0])
	b.parts = b.parts[1:]
	return n, nil
}

func (b *timed) Close() error { return nil }

func TestLatency(t *testing.T) {
	for name, tc := range map[string]struct {
		body      io.ReadCloser
		end       tap.Outcome
		latency   time.Duration
		firstByte time.Duration
	}{
		// The header comes after 1 s, and each part 2 s after the one before.
		"stream":   {&timed{[]string{"data: 1\n\n", "data: 2\n\n"}, 2 * time.Second}, tap.Completed, 7 * time.Second, 3 * time.Second},
		"no bytes": {&timed{nil, 2 * time.Second}, tap.Completed, 3 * time.Second, 0},
		"no body":  {http.NoBody, tap.Completed, time.Second, 0},
		"failed":   {nil, tap.UpstreamFailed, time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tp, records := newTap(&recorder{})
				f := tp.Start(tap.Exchange{RequestedAt: time.Now().Add(-time.Hour)})
				time.Sleep(time.Second)
				if tc.body != nil {
					_, _ = io.ReadAll(f.Response(200, header(sse), tc.body))
					time.Sleep(time.Minute) // until the relay notices
				}
				f.End(tc.end, nil)
				rec := <-records
				if rec.Latency != tc.latency || rec.FirstByte != tc.firstByte {
					t.Errorf("latency %v, first byte %v; want %v, %v", rec.Latency, rec.FirstByte, tc.latency, tc.firstByte)
				}
			})
		})
	}
}

func TestOutcomes(t *testing.T) {
	broken := func() io.ReadCloser { b := body("data: 1\n\n"); b.err = errBroken; return b }
	for name, tc := range map[string]struct {
		status     int
		body       io.ReadCloser
		outcome    tap.Outcome
		eof        bool
		errorClass string
	}{
		"whole":                {200, body("data: 1\n\n"), tap.Completed, true, ""},
		"provider's error":     {529, body("{}"), tap.Completed, true, "server_error"},
		"rate limit":           {429, http.NoBody, tap.Completed, true, "rate_limit"},
		"broken off":           {200, broken(), tap.UpstreamFailed, false, "network"},
		"relay says whole":     {200, broken(), tap.Completed, false, ""},
		"client left":          {200, body("data: 1\n\n"), tap.ClientAborted, false, ""},
		"client left early":    {0, nil, tap.ClientAborted, false, ""},
		"provider unreachable": {0, nil, tap.UpstreamFailed, false, "network"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &recorder{}
			tp, records := newTap(p)
			f := tp.Start(tap.Exchange{ID: "7", Host: "api.example.com"})
			if tc.status != 0 {
				_, _ = io.ReadAll(f.Response(tc.status, header(sse), tc.body))
			}
			f.End(tc.outcome, errBroken)
			rec := <-records
			if rec.Outcome != tc.outcome || rec.HTTPStatus != tc.status || rec.ErrorClass != tc.errorClass || rec.ID != "7" {
				t.Errorf("record %+v, want outcome %s, status %d, class %q", rec, tc.outcome, tc.status, tc.errorClass)
			}
			if want := tc.outcome == tap.UpstreamFailed; errors.Is(rec.Err, errBroken) != want {
				t.Errorf("err %v", rec.Err)
			}
			if p.EOF != tc.eof || rec.Complete != tc.eof {
				t.Errorf("eof %v, complete %v; want %v", p.EOF, rec.Complete, tc.eof)
			}
			if diff := cmp.Diff([]string{""}, p.Requests); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

// TestErrorCodeInHeader: where the body has no code, the header's is kept.
func TestErrorCodeInHeader(t *testing.T) {
	for want, kind := range map[string]string{"ThrottlingException": "ThrottlingException:http://example.com/", "": ""} {
		rec, _ := exchange{status: 429, header: http.Header{"X-Amzn-Errortype": {kind}}, resp: body(`{"message":"m"}`)}.pass(t)
		if rec.ErrorCode != want || rec.ErrorClass != "rate_limit" {
			t.Errorf("code %q, class %q, want %q", rec.ErrorCode, rec.ErrorClass, want)
		}
	}
}

// TestEndCountsOnce: the first End counts, and what is read later is the
// client's alone.
func TestEndCountsOnce(t *testing.T) {
	p := &recorder{}
	tp, records := newTap(p)
	f := tp.Start(tap.Exchange{})
	resp := f.Response(200, header(sse), body("data: 1\n\ndata: 2\n\n", 9))
	_, err := io.ReadFull(resp, make([]byte, 9))
	noErr(t, err)
	f.End(tap.ClientAborted, nil)
	f.End(tap.Completed, nil)
	if rest, err := io.ReadAll(resp); string(rest) != "data: 2\n\n" || err != nil {
		t.Errorf("after End: %q, %v", rest, err)
	}
	noErr(t, resp.Close())
	noErr(t, tp.Flush(t.Context()))
	if rec := <-records; rec.Outcome != tap.ClientAborted || len(records) != 0 || len(p.Events) != 1 {
		t.Errorf("outcome %s, %d more records, events %v", rec.Outcome, len(records), p.Events)
	}
}

// closer notes its Close and returns an error of its own.
type closer struct {
	io.Reader
	closed int
}

func (c *closer) Close() error { c.closed++; return errBroken }

// eager gives its error with its last bytes.
type eager struct {
	text string
	err  error
}

func (e *eager) Read(p []byte) (int, error) {
	n := copy(p, e.text)
	if e.text = e.text[n:]; e.text == "" {
		return n, e.err
	}
	return n, nil
}

// TestTransparency: a wrapped body behaves as the one beneath it.
func TestTransparency(t *testing.T) {
	text := strings.Repeat("0123456789", 5000)
	wrap := func(r io.Reader) (io.ReadCloser, *closer, func()) {
		tp, records := newTap(&recorder{})
		f := tp.Start(tap.Exchange{})
		c := &closer{Reader: r}
		return f.Response(200, header(""), c), c, func() { f.End(tap.Completed, nil); <-records }
	}
	for name, r := range map[string]io.Reader{
		"plain":          strings.NewReader(text),
		"one byte":       iotest.OneByteReader(strings.NewReader(text)),
		"EOF with bytes": &eager{text, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			b, c, end := wrap(r)
			defer end()
			noErr(t, iotest.TestReader(b, []byte(text)))
			for range 2 {
				if err := b.Close(); !errors.Is(err, errBroken) {
					t.Errorf("Close: %v", err)
				}
			}
			if c.closed != 2 {
				t.Errorf("the body was closed %d times, want 2", c.closed)
			}
		})
	}
	t.Run("error with bytes", func(t *testing.T) {
		b, _, end := wrap(&eager{"abc", errBroken})
		defer end()
		p := make([]byte, 10)
		if n, err := b.Read(p); n != 3 || !errors.Is(err, errBroken) {
			t.Errorf("Read = %d, %v", n, err)
		}
		if n, err := b.Read(p); n != 0 || !errors.Is(err, errBroken) {
			t.Errorf("Read = %d, %v", n, err)
		}
	})
	t.Run("sizes", func(t *testing.T) {
		b, _, end := wrap(body(text, 1, 700, 40_000))
		defer end()
		p := make([]byte, 32<<10)
		for _, want := range []int{1, 700, 32 << 10, 1, 700, len(text) - 32<<10 - 1402} {
			if n, err := b.Read(p); n != want || err != nil {
				t.Errorf("Read = %d, %v; want %d", n, err, want)
			}
		}
	})
}

// TestUnwrapped: bodies that are none, a second body, and the connection after
// a 101 are returned as they are.
func TestUnwrapped(t *testing.T) {
	p := &recorder{}
	tp, records := newTap(p)
	f := tp.Start(tap.Exchange{})
	if f.Request(nil, nil) != nil || f.Request(nil, http.NoBody) != http.NoBody {
		t.Error("a request without a body was given one")
	}
	conn := body("frames")
	if got := f.Response(http.StatusSwitchingProtocols, header(""), conn); got != conn {
		t.Error("the connection after a 101 was wrapped")
	}
	second := body("")
	if got := f.Response(200, header(""), second); got != second {
		t.Error("a second response was wrapped")
	}
	f.End(tap.Completed, nil)
	if rec := <-records; rec.HTTPStatus != 101 || rec.Complete || rec.Reason == "" {
		t.Errorf("record %+v", rec)
	}
}

func TestFlushWaitsForEndedFlows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		done := 0
		tp := &tap.Tap{
			NewParser: func(tap.Exchange) provider.Parser { return &recorder{} },
			Done:      func(tap.Record) { <-gate; done++ },
		}
		noErr(t, tp.Flush(t.Context()))
		ended, open := tp.Start(tap.Exchange{}), tp.Start(tap.Exchange{})
		ended.End(tap.Completed, nil)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := tp.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 records") {
			t.Errorf("Flush while Done blocks: %v", err)
		}
		close(gate)
		noErr(t, tp.Flush(t.Context()))
		if done != 1 {
			t.Errorf("Done was called %d times before Flush returned, want once", done)
		}
		open.End(tap.Completed, nil)
		noErr(t, tp.Flush(t.Context()))
		if done != 2 {
			t.Errorf("Done was called %d times, want twice", done)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		tp, records := newTap(&recorder{})
		tp.Logger = slog.New(slog.NewJSONHandler(&log, nil))
		open := tp.Start(tap.Exchange{})
		resp := open.Response(200, header(sse), body("data: 1\n\n"))
		noErr(t, tp.Close(t.Context()))
		if rec := <-records; rec.Outcome != tap.ClientAborted || rec.Complete {
			t.Errorf("outcome %s, complete %v", rec.Outcome, rec.Complete)
		}
		if data, err := io.ReadAll(resp); string(data) != "data: 1\n\n" || err != nil {
			t.Errorf("the body after Close: %q, %v", data, err)
		}
		open.End(tap.Completed, nil)

		late := tp.Start(tap.Exchange{ID: "late"})
		b := body("x")
		if late.Request(nil, b) != b || late.Response(200, nil, b) != b {
			t.Error("a flow of a closed tap wrapped a body")
		}
		late.End(tap.Completed, nil)
		noErr(t, tp.Flush(t.Context()))
		noErr(t, tp.Close(t.Context()))
		if len(records) != 0 {
			t.Errorf("%d records of a closed tap", len(records))
		}
		if !strings.Contains(log.String(), `"tap.flow.unmetered"`) {
			t.Errorf("the unmetered flow is not logged: %s", &log)
		}
	})
}

// TestPanics: whatever panics, the record comes, and the process stays.
func TestPanics(t *testing.T) {
	for _, where := range []string{"new", "request", "event", "body", "result", "done"} {
		t.Run(where, func(t *testing.T) {
			var log bytes.Buffer
			tp, records := newTap(panicky(where))
			tp.Logger = slog.New(slog.NewJSONHandler(&log, nil))
			if where == "new" {
				tp.NewParser = func(tap.Exchange) provider.Parser { panic("a secret") }
			}
			if done := tp.Done; where == "done" {
				tp.Done = func(r tap.Record) { done(r); panic("a secret") }
			}
			f := tp.Start(tap.Exchange{ID: "7"})
			text := "data: 1\n\n"
			if where == "body" {
				text = "{}"
			}
			if data, err := io.ReadAll(f.Response(200, header(sse), body(text))); string(data) != text || err != nil {
				t.Errorf("the client read %q, %v", data, err)
			}
			f.End(tap.Completed, nil)
			noErr(t, tp.Close(t.Context()))
			rec := <-records
			if where != "done" && (rec.Complete || !strings.Contains(rec.Reason, "panicked")) {
				t.Errorf("complete %v, reason %q", rec.Complete, rec.Reason)
			}
			if !strings.Contains(log.String(), "panicked") || strings.Contains(log.String(), "secret") {
				t.Errorf("log: %s", &log)
			}
			if tp.Used() != 0 {
				t.Errorf("%d bytes are still reserved", tp.Used())
			}
		})
	}
}

// panicky panics in one method.
type panicky string

func (p panicky) at(where string) {
	if string(p) == where {
		panic("a secret")
	}
}

func (p panicky) Request([]byte)       { p.at("request") }
func (p panicky) Event(string, []byte) { p.at("event") }
func (p panicky) Body(int, []byte)     { p.at("body") }
func (p panicky) Result(bool) provider.Result {
	p.at("result")
	return provider.Result{Complete: true}
}

// What a header counts reaches the record.
func TestUsageInTheHeader(t *testing.T) {
	endpoint, ok := provider.Lookup("POST", "bedrock-runtime.us-east-1.amazonaws.com", "/model/cohere.embed-english-v3/invoke")
	if !ok {
		t.Fatal("not metered")
	}
	var rec tap.Record
	tp := tap.Tap{Done: func(r tap.Record) { rec = r }}
	f := tp.Start(tap.Exchange{Endpoint: endpoint})
	h := header("application/json")
	h.Set("X-Amzn-Bedrock-Input-Token-Count", "12")
	if _, err := io.ReadAll(f.Response(200, h, body(`{"embeddings":[[0.5]]}`, 7))); err != nil {
		t.Fatal(err)
	}
	f.End(tap.Completed, nil)
	noErr(t, tp.Close(t.Context()))
	if !rec.Complete || rec.Usage == nil || rec.Usage.Input != 12 {
		t.Errorf("complete %v (%s), usage %+v", rec.Complete, rec.Reason, rec.Usage)
	}
}

// A goroutine that looks at each piece would cost more than what it reads.
func TestNothingRunsBeforeABatch(t *testing.T) {
	tp, records := newTap(&recorder{})
	small, large := tp.Start(tap.Exchange{}), tp.Start(tap.Exchange{})
	for f, size := range map[*tap.Flow]int{small: 1 << 10, large: 4 << 10} {
		_, _ = io.ReadAll(f.Request(header("application/json"), body(strings.Repeat("x", size), 512)))
		if want := f == large; f.Running() != want {
			t.Errorf("%d bytes, and the end: running %v, want %v", size, f.Running(), want)
		}
		_, _ = io.ReadAll(f.Response(200, header("application/json"), body("{}")))
		f.End(tap.Completed, nil)
		if rec := <-records; !f.Running() || rec.Outcome != tap.Completed {
			t.Errorf("%d bytes: %+v", size, rec)
		}
	}
}
