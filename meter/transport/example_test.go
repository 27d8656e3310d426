package transport_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/haltonlabs/halton-meter/meter/transport"
)

// openAI stands for the network here.
func openAI(*http.Request) (*http.Response, error) {
	return respond(200, "application/json", io.NopCloser(strings.NewReader(answer))), nil
}

func ExampleTransport() {
	meter := &transport.Transport{
		Base: roundTrip(openAI), // nil is http.DefaultTransport
		Sink: transport.SinkFunc(func(r transport.Record) {
			fmt.Println(r.Model, r.Usage.Input, r.Usage.Output, r.Cost.NanoUSD)
		}),
	}
	client := &http.Client{Transport: meter}

	resp, err := client.Post("https://api.openai.com/v1/chat/completions", "application/json", strings.NewReader(`{"model":"gpt-4o"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()

	if err := meter.Close(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output: gpt-4o-2024-08-06 1000 100 3500000
}

func ExampleSink() {
	var sink transport.Sink = transport.SinkFunc(func(r transport.Record) { fmt.Println(r.Status) })
	sink.Record(transport.Record{Status: "success"})
	// Output: success
}

func ExampleTransport_Stats() {
	meter := &transport.Transport{Base: roundTrip(openAI), Sink: transport.SinkFunc(func(transport.Record) { panic("disk full") })}
	resp, err := (&http.Client{Transport: meter}).Get("https://api.openai.com/v1/models") // not metered
	if err != nil {
		fmt.Println(err)
		return
	}
	resp.Body.Close()
	var s transport.Stats = meter.Stats()
	fmt.Println(s.Recorded, s.Dropped, s.Panicked)
	// Output: 0 0 0
}
