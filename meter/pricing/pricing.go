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
// With puts prices that the user sets before the book's; Bill tells how a cost
// came about, and Entries and Find what the book holds.
//
// # Rules
//
// The length of the whole prompt, cached or not, chooses the price tier, and
// the tier's prices apply to all tokens of the request, output included. Where
// an exchange was billed at several models, each charge has its own tier.
//
// Tokens are charged at the most specific price that the model lists for them,
// as genai-prices does: where it lists no price of its own for cache reads,
// short cache writes or audio, they cost what other input or output does. An
// hour's cache write is the exception: it always costs more than a short one,
// so it has its own price or none. A model that is also billed by what the usage
// does not tell, such as hours, or images where it does not count them apart,
// has no known cost.
//
// Sums are exact, in rational numbers. The sum over all charges is rounded
// once, at the end, to the nearest nano-USD, halves up.
//
// A cost that the book cannot tell is unknown, with the reason; it is never
// zero, another model's price, or a price derived from another by a ratio.
//
// Batches, and OpenAI's and Google's flex tiers, cost half of the list's prices
// of tokens; Claude's fast mode costs two or six times as much, and service in
// the US alone 1.1 times, as the providers' documentation says. The prices of
// other tiers are unknown, OpenAI's priority among them.
//
// Calls that are paid for by a subscription, such as those of Codex with a
// ChatGPT login, are told at list prices: what they are worth, not what they
// add to a bill.
//
// # Where it differs from genai-prices
//
// Costs equal those of calcPrice to the nano-dollar, but for these:
//
//   - An hour's cache write without a price of its own is unknown; calcPrice
//     charges a short one's price, which is less than any provider's.
//   - Output, or calls such as web searches, without a price are unknown;
//     calcPrice leaves them out. Google's and OpenRouter's searches are among
//     them.
//   - A model that is billed by hours, pages or the request beside its tokens is
//     unknown, as the usage does not count them.
//   - Images or video that the usage does not tell apart, where the model has a
//     price for them, are unknown; calcPrice charges them as text.
//   - Searches that stand in an answer's output and not in its usage, as OpenAI's
//     do, are charged; calcPrice is not told of them.
//   - An entry that lists no price at all is free only if the model's name ends
//     in ":free"; for calcPrice it always is.
//   - Names that an entry fits only because it is broad are unknown: its text may
//     be followed by dates, numbers of snapshots, "latest" or "preview". So
//     claude-sonnet-5-5 does not cost what claude-sonnet-5 does.
//   - A dated snapshot that the list does not have costs what the name without
//     the date does; calcPrice knows no price.
//   - Batch, flex, fast and US-only service are priced as above; calcPrice has
//     the list's prices only.
//
// # Where it differs from Claude Code
//
// The total_cost_usd that Claude Code prints is the same for ordinary calls.
// Claude Code 2.1 leaves out compaction turns, the discount on batches and
// Sonnet 4.5's prices above 200,000 tokens, charges the requested model where
// another one served, and guesses the prices of models that it does not know.
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
	source    string
	listings  map[string]*listing // by provider
	overrides []override          // the most specific first
}

// Cost is what an exchange cost.
type Cost struct {
	// NanoUSD is the cost in 1e-9 US dollars; zero if it is not known.
	NanoUSD int64
	// Known reports whether the book could tell the cost of every part.
	Known bool
	// Reason says why the cost is not known.
	Reason string
	// Source names the prices that were asked: "bundled-2026-09-23", or
	// "override" if some of them were.
	Source string
}

// Cost prices the charges of one request that was made at that time. The
// provider is named as in provider.Endpoint, the tier as in provider.Result.
func (b *Book) Cost(providerName string, charges []provider.Charge, tier string, at time.Time) Cost {
	return b.Bill(providerName, charges, tier, at).Cost
}
