package meter

import (
	"encoding/json"

	"github.com/haltonlabs/halton-meter/meter/internal/booking"
	"github.com/haltonlabs/halton-meter/meter/ledger"
	"github.com/haltonlabs/halton-meter/meter/pricing"
	"github.com/haltonlabs/halton-meter/meter/provider"
)

// reasonRetrieved is the Row.CostReason of a response whose cost is in another
// row: it must never get one.
const reasonRetrieved = booking.ReasonRetrieved

// Bill prices a stored row with a book, as the daemon would, and shows how.
func Bill(book *pricing.Book, row ledger.Row) pricing.Bill {
	if row.CostReason != nil && *row.CostReason == reasonRetrieved {
		return pricing.Bill{Cost: pricing.Cost{Reason: reasonRetrieved, Source: book.Source()}}
	}
	return book.Bill(row.Provider, charges(row), row.Tier, row.RequestedAt)
}

// Reprice is Bill for ledger.Backfill: it prices what the book knows now.
func Reprice(book *pricing.Book) func(ledger.Row) (ledger.Price, bool) {
	return func(row ledger.Row) (ledger.Price, bool) {
		bill := Bill(book, row)
		return ledger.Price{NanoUSD: bill.NanoUSD, Source: bill.Source}, bill.Known
	}
}

// charges says what a row was billed at; none if that was more than could be
// stored. A row of an older release lacks what
// is in no column: which of its tokens were audio, or at other models.
func charges(row ledger.Row) []provider.Charge {
	var stored []provider.Charge
	if len(row.Charges) > 0 && json.Unmarshal(row.Charges, &stored) == nil {
		return stored
	}
	if row.InputTokens == nil && row.OutputTokens == nil && len(row.ToolCalls) == 0 {
		return nil
	}
	n := func(count *int64) int64 {
		if count == nil {
			return 0
		}
		return *count
	}
	long := n(row.CacheWrite1hTokens)
	return []provider.Charge{{Model: row.Model, Usage: provider.Usage{
		Input: n(row.InputTokens), Output: n(row.OutputTokens), Thinking: n(row.ThinkingTokens), CacheRead: n(row.CacheReadTokens),
		CacheWrite5m: n(row.CacheWriteTokens) - long, CacheWrite1h: long, ToolCalls: row.ToolCalls,
	}}}
}
