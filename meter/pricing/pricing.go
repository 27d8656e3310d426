// Package pricing says what usage cost, exactly or not at all.
//
//	cost := pricing.Bundled().Cost("anthropic", result.Charges, result.Tier, requestedAt)
//	if cost.Known {
//		fmt.Println(cost.NanoUSD, cost.Source)
//	}
//
// The bundled book is made by go generate from the npm package
// @pydantic/genai-prices, and bears the date of that package. It holds the
// prices of the past too, so that a request costs what it cost at its time.
//
// # Rules
//
// The length of the whole prompt, cached or not, chooses the price tier, and
// the tier's prices apply to all tokens of the request, output included.
//
// Tokens are charged at the most specific price that the model lists for them,
// as genai-prices does: where it lists no price of its own for cache reads,
// short cache writes or audio, they cost what other input or output does. An
// hour's cache write is the exception: it always costs more than a short one,
// so it has its own price or none. A model that is also billed by what the usage
// does not tell, such as hours, or images where it does not count them apart,
// has no known cost.
//
// Sums are exact: prices are whole femto-USD, and the sum over all charges is
// rounded once, at the end, to the nearest nano-USD, halves up.
//
// A cost that the book cannot tell is unknown, with the reason; it is never
// zero, another model's price, or a price derived from another by a ratio.
//
// Batches, and OpenAI's and Google's flex tiers, cost half of the list's prices of tokens,
// and Claude Opus 4.8's fast mode the double, as the providers' documentation
// says. The prices of other tiers are unknown.
//
// The package does no conversion of currencies, knows no discounts that a
// customer negotiated, and never asks the network.
package pricing

import (
	"time"

	"github.com/haltonlabs/halton-meter/meter/provider"
)

// Book is a dated price list. It does not change, and is safe for concurrent
// use.
type Book struct {
	source   string
	listings map[string]*listing // by provider
}

// Cost is what an exchange cost.
type Cost struct {
	// NanoUSD is the cost in 1e-9 US dollars; zero if it is not known.
	NanoUSD int64
	// Known reports whether the book could tell the cost of every part.
	Known bool
	// Reason says why the cost is not known.
	Reason string
	// Source names the book that was asked: "bundled-2026-09-23".
	Source string
}

// Cost prices the charges of one request that was made at that time. The
// provider is named as in provider.Endpoint, the tier as in provider.Result.
func (b *Book) Cost(providerName string, charges []provider.Charge, tier string, at time.Time) Cost {
	nanoUSD, err := b.cost(providerName, charges, tier, at)
	if err != nil {
		return Cost{Reason: err.Error(), Source: b.source}
	}
	return Cost{NanoUSD: nanoUSD, Known: true, Source: b.source}
}
