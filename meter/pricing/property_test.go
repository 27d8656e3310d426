package pricing_test

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/haltonlabs/halton-meter/meter/pricing"
	"github.com/haltonlabs/halton-meter/meter/provider"
)

// tiers has, for some models, the longest prompt at base prices.
var tiers = map[string]int64{
	"claude-sonnet-4-5": 200_000,
	"claude-opus-4-8":   1 << 40,
	"claude-opus-5-5":   1 << 40,
	"claude-haiku-4-5":  1 << 40,
}

// drawUsage draws counts up to most in each bucket.
func drawUsage(t *rapid.T, label string, most int64) provider.Usage {
	count := rapid.Int64Range(0, most)
	return provider.Usage{
		Input:        count.Draw(t, label+" input"),
		CacheRead:    count.Draw(t, label+" read"),
		CacheWrite5m: count.Draw(t, label+" write 5m"),
		CacheWrite1h: count.Draw(t, label+" write 1h"),
		Output:       count.Draw(t, label+" output"),
		ToolCalls:    map[string]int64{"web_search": count.Draw(t, label+" searches")},
	}
}

func plus(a, b provider.Usage) provider.Usage {
	return provider.Usage{
		Input:        a.Input + b.Input,
		CacheRead:    a.CacheRead + b.CacheRead,
		CacheWrite5m: a.CacheWrite5m + b.CacheWrite5m,
		CacheWrite1h: a.CacheWrite1h + b.CacheWrite1h,
		Output:       a.Output + b.Output,
		ToolCalls:    map[string]int64{"web_search": a.ToolCalls["web_search"] + b.ToolCalls["web_search"]},
	}
}

func drawModel(t *rapid.T) string {
	names := make([]string, 0, len(tiers))
	for name := range tiers {
		names = append(names, name)
	}
	slices.Sort(names)
	return rapid.SampledFrom(names).Draw(t, "model")
}

// costOf fails the test unless the cost is known.
func costOf(t *rapid.T, charges ...provider.Charge) int64 {
	cost := pricing.Bundled().Cost("anthropic", charges, "", november)
	if !cost.Known {
		t.Fatalf("%+v costs %+v", charges, cost)
	}
	return cost.NanoUSD
}

// TestMoreCostsMore: no usage costs less than a part of it.
func TestMoreCostsMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		model := drawModel(t)
		a, b := drawUsage(t, "a", 300_000), drawUsage(t, "b", 300_000)
		part := costOf(t, provider.Charge{Model: model, Usage: a})
		whole := costOf(t, provider.Charge{Model: model, Usage: plus(a, b)})
		if whole < part {
			t.Fatalf("%d nano-USD, and %d for more", part, whole)
		}
	})
}

// TestAddsUp: below a tier's start, and in several charges, costs add up; all
// of these models' prices are whole nano-USD.
func TestAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		model := drawModel(t)
		a, b := drawUsage(t, "a", 60_000), drawUsage(t, "b", 60_000)
		costA, costB := provider.Charge{Model: model, Usage: a}, provider.Charge{Model: model, Usage: b}
		sum := costOf(t, costA) + costOf(t, costB)
		if got := costOf(t, costA, costB); got != sum {
			t.Fatalf("two charges cost %d, each for itself %d", got, sum)
		}
		both := plus(a, b)
		got := costOf(t, provider.Charge{Model: model, Usage: both})
		if below := both.Prompt() <= tiers[model]; below && got != sum || got < sum {
			t.Fatalf("together %d, apart %d", got, sum)
		}
	})
}

// TestAnyCounts: whatever the counts, the cost is a sane one or unknown.
func TestAnyCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{0, 1, 1 << 60, math.MaxInt64, math.MinInt64}))
		var charges []provider.Charge
		for range rapid.IntRange(0, 3).Draw(t, "charges") {
			charges = append(charges, provider.Charge{Model: drawModel(t), Usage: provider.Usage{
				Input: count.Draw(t, "input"), CacheRead: count.Draw(t, "read"),
				CacheWrite5m: count.Draw(t, "write 5m"), CacheWrite1h: count.Draw(t, "write 1h"),
				Output: count.Draw(t, "output"), AudioInput: count.Draw(t, "audio"),
				ToolCalls: map[string]int64{"web_search": count.Draw(t, "searches")},
			}})
		}
		cost := pricing.Bundled().Cost("anthropic", charges, "", november)
		if cost.NanoUSD < 0 || cost.Known != (cost.Reason == "") || !cost.Known && cost.NanoUSD != 0 {
			t.Fatalf("%+v costs %+v", charges, cost)
		}
	})
}
