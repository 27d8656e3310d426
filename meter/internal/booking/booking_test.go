package booking_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/internal/booking"
	"github.com/haltonlabs/halton-meter/meter/pricing"
	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/meter/tap"
)

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		rec           tap.Record
		status, class string
	}{
		{tap.Record{Outcome: tap.Completed, HTTPStatus: 200}, "success", ""},
		{tap.Record{Outcome: tap.Completed, HTTPStatus: 101}, "success", ""},
		{tap.Record{Outcome: tap.Completed, HTTPStatus: 429}, "error", "rate_limit"},
		{tap.Record{Outcome: tap.Completed, HTTPStatus: 200, Result: provider.Result{ErrorClass: "server_error"}}, "error", "server_error"},
		{tap.Record{Outcome: tap.ClientAborted, HTTPStatus: 200}, "aborted", ""},
		{tap.Record{Outcome: tap.UpstreamFailed, HTTPStatus: 200, Err: errors.New("reset")}, "truncated", "network"},
		{tap.Record{Outcome: tap.UpstreamFailed, Err: errors.New("refused")}, "error", "network"},
	} {
		if status, class := booking.Status(tt.rec); status != tt.status || class != tt.class {
			t.Errorf("%+v: %s %s, want %s %s", tt.rec, status, class, tt.status, tt.class)
		}
	}
}

func ExampleCashier() {
	c := &booking.Cashier{Book: pricing.Bundled()}
	u := provider.Usage{Input: 1000}
	rec := tap.Record{HTTPStatus: 200, Result: provider.Result{
		Usage: &u, Charges: []provider.Charge{{Model: "gpt-4o", Usage: u}}, ResponseID: "resp_1",
	}}
	rec.Endpoint = provider.Endpoint{Provider: "openai", Retrieve: true}
	fmt.Println(c.Cost(rec).NanoUSD)
	fmt.Println(c.Cost(rec).Reason)
	rec.Usage = nil
	fmt.Println(c.Cost(rec).Reason)
	// Output:
	// 2500000
	// the response was retrieved again; an earlier row bears its cost
	// the provider sent no usage
}
