package pricing_test

import (
	"fmt"
	"log"
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

func ExampleBook_With() {
	book, err := pricing.Bundled().With([]pricing.Override{{
		Models: "acme-large-*",
		Prices: pricing.Prices{
			Tokens: map[string]string{"input": "3", "output": "15"},
			Calls:  map[string]string{"web_search": "10"},
		},
		Tiers: []pricing.OverrideTier{{
			Above:  200_000,
			Prices: pricing.Prices{Tokens: map[string]string{"input": "6"}},
		}},
	}})
	if err != nil {
		log.Fatal(err)
	}
	charges := []provider.Charge{{Model: "acme-large-2", Usage: provider.Usage{Input: 1000, Output: 10}}}
	cost := book.Cost("openai", charges, "", time.Now())
	fmt.Println(cost.NanoUSD, cost.Source)
	// Output: 3150000 override
}

// A bill has a part for each charge, and a line for each product.
func ExampleBook_Bill() {
	charges := []provider.Charge{{Model: "claude-opus-5-5", Usage: provider.Usage{Input: 1000, CacheRead: 500}}}
	bill := pricing.Bundled().Bill("anthropic", charges, "batch", time.Now())
	total := func(b pricing.Bill) int64 { return b.NanoUSD }
	show := func(l pricing.Line) {
		fmt.Printf("%s: %d x %s USD per %d x %s = %s nano-USD\n", l.What, l.Count, l.USD, l.Per, l.Factor, l.NanoUSD)
	}
	lines := func(p pricing.Part) []pricing.Line { return p.Lines }
	for _, part := range bill.Parts {
		for _, l := range lines(part) {
			show(l)
		}
	}
	fmt.Println(total(bill))
	// Output:
	// input: 1000 x 4 USD per 1000000 x 0.5 = 2000000 nano-USD
	// cache read: 500 x 0.2 USD per 1000000 x 0.5 = 50000 nano-USD
	// 2050000
}

func ExampleEntry_At() {
	entry, _ := pricing.Bundled().Find("anthropic", "claude-opus-4-6-20260205", time.Now())
	fmt.Println(entry.Name, len(entry.Periods))
	when := func(p pricing.Period) string { return p.When }
	now := entry.At(time.Now())
	fmt.Println(when(now))
	show := func(r pricing.Rate) { fmt.Println(r.Name, r.USD, "USD per", r.Per) }
	show(now.Rates[0])
	// Output:
	// claude-opus-4-6 2
	// since 2026-03-13
	// input 5 USD per 1000000
}
