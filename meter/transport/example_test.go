package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/haltonlabs/halton-meter/meter/pricing"
	"github.com/haltonlabs/halton-meter/meter/provider"
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
			if r.Usage == nil { // a refusal, for instance
				fmt.Println(r.Status, r.HTTPStatus, r.Reason)
				return
			}
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

// spending is a Sink that adds up what each model cost. Only one goroutine calls
// Record at a time, and after Flush or Close its sums may be read.
type spending map[string]int64

func (s spending) Record(r transport.Record) {
	if !r.Cost.Known {
		fmt.Println(r.Model, r.Cost.Reason)
	}
	s[r.Model] += r.Cost.NanoUSD
}

func ExampleSink() {
	sums := spending{}
	var sink transport.Sink = sums
	meter := &transport.Transport{Base: roundTrip(openAI), Sink: sink}
	for range 3 {
		ask(meter, "https://api.openai.com/v1/chat/completions")
	}
	if err := meter.Flush(context.Background()); err != nil {
		fmt.Println(err)
	}
	fmt.Println(sums)
	// Output: map[gpt-4o-2024-08-06:10500000]
}

// A gateway that speaks OpenAI's chat completions, at its own prices.
func ExampleTransport_ownHost() {
	table, err1 := provider.NewTable(provider.Host{Name: "llm.corp.example", Format: provider.FormatOpenAIChat, Provider: "corp"})
	book, err2 := pricing.Bundled().With([]pricing.Override{{
		Models: "gpt-4o-*", Provider: "corp",
		Prices: pricing.Prices{Tokens: map[string]string{"input": "1", "output": "2"}}, // USD per million
	}})
	if err := errors.Join(err1, err2); err != nil {
		fmt.Println(err)
		return
	}
	meter := &transport.Transport{
		Base: roundTrip(openAI), Lookup: table.Lookup, Prices: book,
		Sink: transport.SinkFunc(func(r transport.Record) {
			fmt.Println(r.Endpoint.Provider, r.Model, r.Cost.NanoUSD, r.Cost.Source)
		}),
	}
	ask(meter, "https://llm.corp.example/v1/chat/completions")
	if err := meter.Close(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output: corp gpt-4o-2024-08-06 1200000 override
}

// ask asks a question and does not care for the answer.
func ask(meter *transport.Transport, url string) {
	resp, err := (&http.Client{Transport: meter}).Post(url, "application/json", strings.NewReader(`{"model":"gpt-4o"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
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
