package pricing_test

import (
	"fmt"
	"time"

	"github.com/haltonlabs/halton-meter/meter/pricing"
	"github.com/haltonlabs/halton-meter/meter/provider"
)

// A request costs what its provider charged when it was made.
func ExampleBook_Cost() {
	charges := []provider.Charge{{
		Model: "gpt-5.6-luna",
		Usage: provider.Usage{Input: 2_000, CacheRead: 10_000, Output: 500},
	}}
	book := pricing.Bundled()
	before := book.Cost("openai", charges, "default", time.Date(2026, 7, 29, 12, 0, 0, 0, time.UTC))
	after := book.Cost("openai", charges, "default", time.Date(2026, 7, 30, 12, 0, 0, 0, time.UTC))
	fmt.Println(before.NanoUSD, after.NanoUSD)
	// Output: 6000000 1200000
}

// A cost that the book cannot tell is unknown, with the reason.
func ExampleCost() {
	charges := []provider.Charge{{Model: "gpt-99", Usage: provider.Usage{Input: 1}}}
	cost := pricing.Bundled().Cost("openai", charges, "", time.Now())
	if !cost.Known {
		fmt.Println(cost.Reason)
	}
	// Output: openai's model "gpt-99" is not in the price book
}

func ExampleBundled() {
	book := pricing.Bundled()
	cost := book.Cost("anthropic", []provider.Charge{{
		Model: "claude-opus-5-5",
		Usage: provider.Usage{Input: 1_000_000},
	}}, "standard", time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	fmt.Printf("%d nano-USD, by %s\n", cost.NanoUSD, cost.Source)
	// Output: 4000000000 nano-USD, by bundled-2026-09-23
}
