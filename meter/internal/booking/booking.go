// Package booking says how an exchange is booked: with which status, and at
// what cost. The daemon and meter/transport share it, so that they agree.
//
//	cashier := &booking.Cashier{Book: pricing.Bundled()}
//	status, class := booking.Status(record)
//	cost := cashier.Cost(record)
//
// It keeps in memory which responses were billed, and nothing else; what was
// before that, Cashier.Billed knows.
package booking

import (
	"cmp"

	"github.com/haltonlabs/halton-meter/meter/pricing"
	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/meter/tap"
)

// ReasonRetrieved is why a response has no cost that is in an earlier row.
const ReasonRetrieved = "the response was retrieved again; an earlier row bears its cost"

// A Cashier prices exchanges, each response once. It is safe for concurrent
// use.
type Cashier struct {
	// Book has the prices. Required.
	Book *pricing.Book
	// Billed reports whether a response was booked before this Cashier came.
	// It is asked about one that is retrieved and not remembered; nil says
	// that none was.
	Billed func(provider, responseID string) bool

	billed billed
}

// Cost is what the exchange cost, unknown if it named no usage.
func (c *Cashier) Cost(rec tap.Record) pricing.Cost {
	switch {
	case rec.HTTPStatus == 0:
		return pricing.Cost{Reason: "there was no response"}
	case rec.Usage == nil:
		return pricing.Cost{Reason: cmp.Or(rec.Reason, "the provider sent no usage")}
	}
	if c.Billed != nil && rec.Endpoint.Retrieve && rec.ResponseID != "" {
		c.billed.recall(rec.Endpoint.Provider, rec.ResponseID, c.Billed)
	}
	if !c.billed.first(rec.Endpoint.Provider, rec.ResponseID, rec.Endpoint.Retrieve) {
		return pricing.Cost{Reason: ReasonRetrieved}
	}
	return c.Book.Cost(rec.Endpoint.Provider, rec.Charges, rec.Tier, rec.RequestedAt)
}

// Status is success, error (the provider's or the transport's), aborted (the
// client went away) or truncated (the answer broke off), and the error's class,
// "" if there was none.
func Status(rec tap.Record) (status, class string) {
	class = rec.ErrorClass
	switch {
	case rec.Outcome == tap.ClientAborted:
		return "aborted", class
	case rec.Outcome == tap.Completed && rec.HTTPStatus < 400 && class == "":
		return "success", ""
	}
	class = cmp.Or(class, provider.ClassifyError(rec.HTTPStatus, rec.ErrorCode, rec.Err), "unknown")
	if rec.Outcome == tap.UpstreamFailed && rec.HTTPStatus != 0 && rec.HTTPStatus < 400 {
		return "truncated", class
	}
	return "error", class
}
