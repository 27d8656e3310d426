package transport_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/meter/transport"
)

// roundTrip is a base transport made of a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// tb is what a test and a property have in common.
type tb interface {
	Helper()
	Error(...any)
	Fatal(...any)
	Fatalf(string, ...any)
}

// records is a Sink that keeps what it gets, and fails the test if it is
// called by two at once.
type records struct {
	t     tb
	inUse sync.Mutex
	all   []transport.Record
}

func (s *records) Record(r transport.Record) {
	if !s.inUse.TryLock() {
		s.t.Error("the Sink is called by two at once")
		return
	}
	defer s.inUse.Unlock()
	s.all = append(s.all, r)
}

// flush waits for the records so far.
func (s *records) flush(m *transport.Transport) []transport.Record {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := m.Flush(ctx); err != nil {
		s.t.Fatal(err)
	}
	return s.all
}

// only is the one record there is.
func (s *records) only(m *transport.Transport) transport.Record {
	s.t.Helper()
	all := s.flush(m)
	if len(all) != 1 {
		s.t.Fatalf("%d records, want 1: %+v", len(all), all)
	}
	return all[0]
}

// meter is a Transport over a base, and its records.
func meter(t testing.TB, base roundTrip) (*transport.Transport, *records) {
	s := &records{t: t}
	return &transport.Transport{Base: base, Sink: s}, s
}

const chat = "https://api.openai.com/v1/chat/completions"

const answer = `{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o-2024-08-06","choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100}}`

// stream is the same answer as events; the last one says that it is over.
var stream = []string{
	`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-4o-2024-08-06","choices":[{"delta":{"content":"hi"}}]}` + "\n\n",
	`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-4o-2024-08-06","choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100}}` + "\n\n",
	"data: [DONE]\n\n",
}

// answerCost is 1000 and 100 tokens at 2.5 and 10 USD a million.
const answerCost = 3_500_000

// pieces is a body that gives its pieces one a Read, and then err.
type pieces struct {
	pieces []string
	err    error
	closed int
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.closed > 0 {
		return 0, errors.New("read of a closed body")
	}
	if len(p.pieces) == 0 {
		return 0, p.err
	}
	n := copy(b, p.pieces[0])
	if p.pieces[0] = p.pieces[0][n:]; p.pieces[0] == "" {
		p.pieces = p.pieces[1:]
	}
	return n, nil
}

func (p *pieces) Close() error { p.closed++; return nil }

func respond(status int, contentType string, body io.ReadCloser) *http.Response {
	return &http.Response{
		StatusCode: status, ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {contentType}}, Body: body,
	}
}

func post(t testing.TB, ctx context.Context, url, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "OpenAI/Go 3.96.0")
	return req
}
