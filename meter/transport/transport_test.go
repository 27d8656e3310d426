package transport_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haltonlabs/halton-meter/meter/tap"
	"github.com/haltonlabs/halton-meter/meter/transport"
)

// An exchange gives one record, with its usage and its cost.
func TestRecord(t *testing.T) {
	m, sink := meter(t, func(req *http.Request) (*http.Response, error) {
		_, err := io.Copy(io.Discard, req.Body)
		return respond(200, "application/json", io.NopCloser(strings.NewReader(answer))), err
	})
	resp, err := m.RoundTrip(post(t, t.Context(), chat+"?key=secret", `{"model":"gpt-4o"}`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	if string(got) != answer || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	resp.Body.Close()
	resp.Body.Close()
	r := sink.only(m)
	if r.Status != "success" || r.Outcome != tap.Completed || r.HTTPStatus != 200 || !r.Complete || r.ErrorClass != "" {
		t.Errorf("status %s, outcome %s, HTTP %d, complete %v (%s)", r.Status, r.Outcome, r.HTTPStatus, r.Complete, r.Reason)
	}
	if r.Model != "gpt-4o-2024-08-06" || r.RequestedModel != "gpt-4o" || r.Usage.Input != 1000 || r.Usage.Output != 100 {
		t.Errorf("model %s for %s, usage %+v", r.Model, r.RequestedModel, r.Usage)
	}
	if !r.Cost.Known || r.Cost.NanoUSD != answerCost {
		t.Errorf("cost %+v", r.Cost)
	}
	if r.Host != "api.openai.com" || r.Path != "/v1/chat/completions" || r.Method != "POST" || r.UserAgent != "OpenAI/Go 3.96.0" || len(r.ID) != 36 {
		t.Errorf("exchange %+v", r.Exchange)
	}
	if s := m.Stats(); s != (transport.Stats{Recorded: 1}) {
		t.Errorf("stats %+v", s)
	}
}

// How an exchange ends decides its status; whether the usage is final is told
// apart from that.
func TestEnds(t *testing.T) {
	reset := errors.New("connection reset by peer")
	type end struct {
		status   string
		complete bool
		class    string
	}
	read := func(n int) func(*http.Response, context.CancelFunc) error {
		return func(resp *http.Response, _ context.CancelFunc) error {
			_, err := io.CopyN(io.Discard, resp.Body, int64(n))
			resp.Body.Close()
			return err
		}
	}
	all := func(resp *http.Response, _ context.CancelFunc) error {
		_, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return err
	}
	whole := len(strings.Join(stream, ""))
	for name, tt := range map[string]struct {
		body    []string
		err     error // of the body, after it
		consume func(*http.Response, context.CancelFunc) error
		want    end
	}{
		"read to its end":            {stream, io.EOF, all, end{"success", true, ""}},
		"closed after the last byte": {stream, io.EOF, read(whole), end{"success", true, ""}},
		"closed after the first":     {stream, io.EOF, read(len(stream[0])), end{"aborted", false, ""}},
		"closed without a read":      {stream, io.EOF, read(0), end{"aborted", false, ""}},
		"cut by the provider":        {stream[:1], reset, all, end{"truncated", false, "network"}},
		"cut after the usage":        {stream, reset, all, end{"truncated", true, "network"}},
		"ended too early":            {stream[:1], io.EOF, all, end{"success", false, ""}},
		"given up by the context": {stream[:1], context.Canceled, func(resp *http.Response, cancel context.CancelFunc) error {
			cancel()
			return all(resp, cancel)
		}, end{"aborted", false, ""}},
		"given up and left": {stream, io.EOF, func(_ *http.Response, cancel context.CancelFunc) error {
			cancel()
			return nil
		}, end{"aborted", false, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body := &pieces{pieces: append([]string(nil), tt.body...), err: tt.err}
				m, sink := meter(t, func(*http.Request) (*http.Response, error) {
					return respond(200, "text/event-stream", body), nil
				})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				resp, err := m.RoundTrip(post(t, ctx, chat, `{"stream":true}`))
				if err != nil {
					t.Fatal(err)
				}
				if err := tt.consume(resp, cancel); err != nil && err != tt.err {
					t.Errorf("the program got %v, the body failed with %v", err, tt.err)
				}
				synctest.Wait()
				r := sink.only(m)
				if got := (end{r.Status, r.Complete, r.ErrorClass}); got != tt.want {
					t.Errorf("got %+v (%s), want %+v", got, r.Reason, tt.want)
				}
			})
		})
	}
}

// Without a response there is a record too, and the error is the base's own.
func TestErrors(t *testing.T) {
	refused := errors.New("connection refused")
	m, sink := meter(t, func(req *http.Request) (*http.Response, error) {
		req.Body.Close()
		if err := req.Context().Err(); err != nil {
			return nil, err
		}
		return nil, refused
	})
	if _, err := m.RoundTrip(post(t, t.Context(), chat, "{}")); err != refused {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.RoundTrip(post(t, ctx, chat, "{}")); err != context.Canceled {
		t.Errorf("got %v", err)
	}
	m.Base = roundTrip(func(*http.Request) (*http.Response, error) { return nil, nil })
	if resp, err := m.RoundTrip(post(t, t.Context(), chat, "{}")); resp != nil || err != nil {
		t.Errorf("got %v, %v", resp, err)
	}
	var got []string
	for _, r := range sink.flush(m) {
		got = append(got, r.Status+" "+r.ErrorClass+" "+r.Cost.Reason)
	}
	slices.Sort(got) // they end almost together
	want := []string{"aborted  there was no response", "error network there was no response", "error network there was no response"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A provider's error is the program's to read, and a record.
func TestProviderError(t *testing.T) {
	const body = `{"error":{"type":"rate_limit_error","code":"rate_limit_exceeded","message":"slow down"}}`
	m, sink := meter(t, func(*http.Request) (*http.Response, error) {
		return respond(429, "application/json", io.NopCloser(strings.NewReader(body))), nil
	})
	resp, err := (&http.Client{Transport: m}).Do(post(t, t.Context(), chat, "{}"))
	if err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(resp.Body)
	if resp.Body.Close(); string(got) != body || resp.StatusCode != 429 {
		t.Errorf("got %d %q", resp.StatusCode, got)
	}
	if r := sink.only(m); r.Status != "error" || r.ErrorClass != "rate_limit" || r.ErrorCode == "" || r.Cost.Known {
		t.Errorf("status %s, class %s, code %s, cost %+v", r.Status, r.ErrorClass, r.ErrorCode, r.Cost)
	}
}

// Answers without a body end with their head.
func TestNoBody(t *testing.T) {
	for _, body := range []io.ReadCloser{nil, http.NoBody} {
		m, sink := meter(t, func(*http.Request) (*http.Response, error) { return respond(204, "", body), nil })
		resp, err := m.RoundTrip(post(t, t.Context(), chat, "{}"))
		if err != nil || resp.Body != body {
			t.Fatalf("got %v, %v", resp, err)
		}
		if r := sink.only(m); r.Outcome != tap.Completed || r.HTTPStatus != 204 {
			t.Errorf("got %+v", r)
		}
	}
}

// What the Sink does with its records is no concern of the program's.
func TestSinkPanics(t *testing.T) {
	n := 0
	m, _ := meter(t, func(*http.Request) (*http.Response, error) {
		return respond(200, "application/json", io.NopCloser(strings.NewReader(answer))), nil
	})
	m.Sink = transport.SinkFunc(func(transport.Record) {
		if n++; n%2 == 1 {
			panic("no disk")
		}
	})
	for range 4 {
		call(t, m)
	}
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := m.Stats(); s != (transport.Stats{Recorded: 2, Panicked: 2}) {
		t.Errorf("stats %+v", s)
	}
}

func call(t testing.TB, m *transport.Transport) {
	t.Helper()
	resp, err := m.RoundTrip(post(t, t.Context(), chat, "{}"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(resp.Body); string(got) != answer || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	resp.Body.Close()
}

// A Sink that stands still costs records, never time.
func TestSlowSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := meter(t, func(*http.Request) (*http.Response, error) {
			return respond(200, "application/json", io.NopCloser(strings.NewReader(answer))), nil
		})
		m.MaxPending = 3
		m.Sink = transport.SinkFunc(func(transport.Record) { time.Sleep(time.Hour) })
		began := time.Now()
		for range 10 {
			call(t, m)
			synctest.Wait()
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("10 calls took %s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := m.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Flush: %v", err)
		}
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if s := m.Stats(); s != (transport.Stats{Recorded: 4, Dropped: 6}) {
			t.Errorf("stats %+v", s)
		}
		if took := time.Since(began); took != 4*time.Hour {
			t.Errorf("closed after %s", took)
		}
	})
}

// Close makes the records of what is open, which goes on unmetered.
func TestClose(t *testing.T) {
	m, sink := meter(t, func(*http.Request) (*http.Response, error) {
		return respond(200, "text/event-stream", &pieces{pieces: append([]string(nil), stream...), err: io.EOF}), nil
	})
	resp, err := m.RoundTrip(post(t, t.Context(), chat, "{}"))
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, len(stream[0]))
	if _, err := io.ReadFull(resp.Body, first); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := sink.only(m); r.Status != "aborted" || r.Complete {
		t.Errorf("got %+v", r)
	}
	rest, err := io.ReadAll(resp.Body)
	if got := string(first) + string(rest); got != strings.Join(stream, "") || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	resp.Body.Close()
	resp, err = m.RoundTrip(post(t, t.Context(), chat, "{}"))
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(resp.Body); !bytes.Equal(got, []byte(strings.Join(stream, ""))) {
		t.Errorf("after Close: read %q", got)
	}
	if n := len(sink.flush(m)); n != 1 {
		t.Errorf("%d records", n)
	}
}

// A transport without a Sink, and one that was never used.
func TestZero(t *testing.T) {
	m := &transport.Transport{Base: roundTrip(func(*http.Request) (*http.Response, error) {
		return respond(200, "application/json", io.NopCloser(strings.NewReader(answer))), nil
	})}
	call(t, m)
	zero := &transport.Transport{}
	zero.CloseIdleConnections()
	if err := errors.Join(m.Flush(t.Context()), m.Close(t.Context()), zero.Flush(t.Context()), zero.Close(t.Context())); err != nil {
		t.Error(err)
	}
	if s := m.Stats(); s != (transport.Stats{}) {
		t.Errorf("stats %+v", s)
	}
}
