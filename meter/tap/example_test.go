package tap_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/meter/tap"
)

func ExampleTap() {
	const answer = `event: message_start
data: {"type":"message_start","message":{"id":"msg_1","model":"claude-sonnet-4-5","usage":{"input_tokens":20,"output_tokens":1}}}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}

event: message_stop
data: {"type":"message_stop"}

`
	t := &tap.Tap{Done: func(r tap.Record) {
		fmt.Println(r.Outcome, r.HTTPStatus, r.Model, r.Usage.Input, r.Usage.Output, r.Complete)
	}}
	endpoint, _ := provider.Lookup("POST", "api.anthropic.com", "/v1/messages")
	f := t.Start(tap.Exchange{Method: "POST", Host: "api.anthropic.com", Path: "/v1/messages", Endpoint: endpoint})

	// What follows is the relay's: it reads the wrapped bodies instead of the
	// bare ones.
	header := http.Header{"Content-Type": {"text/event-stream"}}
	body := f.Response(200, header, io.NopCloser(strings.NewReader(answer)))
	_, err := io.Copy(io.Discard, body)
	f.End(tap.Completed, err)

	if err := t.Close(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output: completed 200 claude-sonnet-4-5 20 5 true
}

func ExampleFlow() {
	t := &tap.Tap{Done: func(r tap.Record) {
		fmt.Println(r.RequestedModel, r.Outcome, r.Err, r.ErrorClass)
	}}
	endpoint, _ := provider.Lookup("POST", "api.openai.com", "/v1/responses")
	f := t.Start(tap.Exchange{Endpoint: endpoint})
	body := f.Request(http.Header{}, io.NopCloser(strings.NewReader(`{"model":"gpt-5","input":"hi"}`)))
	_, _ = io.Copy(io.Discard, body)
	f.End(tap.UpstreamFailed, errors.New("connection refused"))
	_ = t.Close(context.Background())
	// Output: gpt-5 upstream_failed connection refused network
}

func ExampleExchange() {
	x := tap.Exchange{Host: "api.openai.com", Path: "/v1/responses", ProxyUser: "billing"}
	fmt.Println(x.Host+x.Path, x.ProxyUser)
	// Output: api.openai.com/v1/responses billing
}

func ExampleRecord() {
	var r tap.Record
	r.Outcome = tap.ClientAborted
	r.Dropped = 512
	fmt.Println(r.Outcome, r.Usage == nil, r.Dropped)
	// Output: client_aborted true 512
}

func ExampleOutcome() {
	fmt.Println(tap.Completed, tap.ClientAborted, tap.UpstreamFailed)
	// Output: completed client_aborted upstream_failed
}

func ExampleSocket() {
	t := &tap.Tap{Done: func(r tap.Record) {
		fmt.Println(r.ID, r.ResponseID, r.Usage.Input, r.Usage.Output)
	}}
	endpoint, _ := provider.Lookup("GET", "api.openai.com", "/v1/responses")
	n := 0
	begin := func() tap.Exchange {
		n++
		return tap.Exchange{ID: fmt.Sprint("exchange ", n), Endpoint: endpoint}
	}
	// The provider has answered with 101, and here is the connection to it.
	const done = `{"type":"response.completed","response":{"id":"resp_1","usage":{"input_tokens":8,"output_tokens":3}}}`
	wire := &fakeWire{said: frameBytes(0x81, nil, []byte(done)), end: io.EOF}
	socket := t.Start(begin()).Upgrade(http.Header{}, wire, begin)

	// What follows is the relay's: it reads and writes the socket instead.
	_, _ = socket.Write(frameBytes(0x81, []byte("mask"), []byte(`{"type":"response.create","model":"gpt-5"}`)))
	_, _ = io.Copy(io.Discard, socket)
	socket.End(tap.Completed, nil)

	if err := t.Close(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output: exchange 2 resp_1 8 3
}
