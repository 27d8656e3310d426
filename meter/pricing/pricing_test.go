package pricing_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/meter/pricing"
	"github.com/haltonlabs/halton-meter/meter/provider"
)

var november = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// day parses a time, for tables.
func day(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestCost has costs worked out by hand from the providers' price pages.
func TestCost(t *testing.T) {
	type usage = provider.Usage
	mixed := usage{Input: 11, CacheWrite5m: 3, CacheWrite1h: 4, CacheRead: 5, Output: 9}
	tests := []struct {
		name            string
		provider, model string
		usage           provider.Usage
		tier            string
		want            int64 // nano-USD
	}{
		{"an hour's cache write costs twice the input", "anthropic", "claude-opus-4-8", mixed, "", 341_250},
		{"cache reads at a twentieth of the input", "anthropic", "claude-opus-5-5", mixed, "", 272_000},
		{"fast doubles tokens", "anthropic", "claude-opus-4-8", mixed, "fast", 682_500},
		{"fast on older models", "anthropic", "claude-opus-4-7", mixed, "fast", 6 * 341_250},
		{"served in the US", "anthropic", "claude-opus-4-8", mixed, "us", 375_375},
		{"all modifiers", "anthropic", "claude-opus-4-8", mixed, "batch+fast+us", 375_375},
		{"fast does not double calls", "anthropic", "claude-opus-4-8", usage{
			Output: 1, ToolCalls: map[string]int64{"web_search": 1},
		}, "standard+fast", 10_050_000},
		{"a batch halves tokens", "anthropic", "claude-opus-4-8", mixed, "batch", 170_625},
		{"flex halves tokens and not calls", "openai", "gpt-5", usage{
			Input: 53, Output: 469, ToolCalls: map[string]int64{"file_search": 2},
		}, "flex", 2_378_125 + 5_000_000},
		{"a prompt of the tier's length is below it", "anthropic", "claude-sonnet-4-5", usage{
			Input: 200_000,
		}, "", 600_000_000},
		{"beyond it, all tokens cost more, output too", "anthropic", "claude-sonnet-4-5", usage{
			Input: 250_000, Output: 1_000,
		}, "", 1_522_500_000},
		{"cached tokens count towards the tier", "anthropic", "claude-sonnet-4-5-20250929", usage{
			Input: 2_000, CacheRead: 199_000, Output: 100,
		}, "", 133_650_000},
		{"OpenAI's tier", "openai", "gpt-5.5", usage{Input: 300_000, Output: 1_000}, "", 3_045_000_000},
		{"web searches", "anthropic", "claude-opus-4-8", usage{
			ToolCalls: map[string]int64{"web_search": 3},
		}, "", 30_000_000},
		{"file searches", "openai", "gpt-5", usage{
			ToolCalls: map[string]int64{"file_search": 2},
		}, "", 5_000_000},
		{"cache writes where they are free", "openai", "gpt-5", usage{CacheWrite5m: 8}, "", 10_000},
		{"cache writes where they are not", "openai", "gpt-5.6-terra", usage{CacheWrite5m: 8}, "", 20_000},
		{"cache reads without a discount", "openai", "gpt-5-pro", usage{CacheRead: 2}, "", 30_000},
		{"audio", "openai", "gpt-audio", usage{
			Input: 10, AudioInput: 4, Output: 5, AudioOutput: 3,
		}, "", 6*2_500 + 4*32_000 + 2*10_000 + 3*64_000},
		{"images", "openai", "gpt-image-1", usage{
			Input: 10, ImageInput: 4, CacheRead: 3, CachedImageInput: 2, Output: 5, ImageOutput: 5, ByModality: true,
		}, "", 6*5_000 + 4*10_000 + 1*1_250 + 2*2_500 + 5*40_000},
		{"text and images out", "google", "gemini-2.5-flash-image", usage{
			Input: 10, Output: 5, ImageOutput: 4, ByModality: true,
		}, "", 10*300 + 1*2_500 + 4*30_000},
		{"text where images would cost more", "google", "gemini-embedding-2", usage{Input: 7, ByModality: true}, "", 1_400},
		{"Google's flex tier halves tokens", "google", "gemini-2.5-flash", usage{Input: 10}, "flex", 1_500},
		{"thinking is not billed again", "openai", "gpt-5", usage{Output: 10, Thinking: 10}, "", 100_000},
		{"free of charge, as its name says", "openrouter", "google/gemini-2.0-flash-exp:free", usage{Input: 9, Output: 9}, "", 0},
		{"finer than a femto-USD", "openrouter", "google/gemini-2.5-flash-lite", usage{CacheWrite5m: 3_000_000}, "", 250_000_000},
		{"OpenRouter's capacity elsewhere", "openrouter", "google/gemini-2.5-flash", usage{Input: 10}, "provisioned", 3_000},
		{"nothing used", "anthropic", "claude-haiku-4-5", usage{}, "", 0},
		{"a date in the other spelling", "openai", "gpt-4o-20241120", usage{Input: 2}, "", 5_000},
		{"upper case", "openai", " GPT-4o ", usage{Input: 2}, "", 5_000},
		{"a provider that the list calls x-ai", "xai", "grok-4", usage{Input: 2, Output: 1}, "", 21_000},
		{"a provider that the list calls moonshotai", "moonshot", "kimi-k2-0905-preview", usage{Output: 2}, "", 5_000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			charges := []provider.Charge{{Model: tt.model, Usage: tt.usage}}
			got := pricing.Bundled().Cost(tt.provider, charges, tt.tier, november)
			want := pricing.Cost{NanoUSD: tt.want, Known: true, Source: "bundled-2026-09-23"}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestCostIsUnknown(t *testing.T) {
	type usage = provider.Usage
	charge := func(model string, u usage) []provider.Charge {
		return []provider.Charge{{Model: model, Usage: u}}
	}
	calls := func(name string) usage { return usage{ToolCalls: map[string]int64{name: 1}} }
	one := usage{Input: 1}
	tests := []struct {
		name     string
		provider string
		charges  []provider.Charge
		tier     string
		reason   string
	}{
		{"no charges", "openai", nil, "", "names no usage"},
		{"no model", "openai", charge("", one), "", "names no model"},
		{"unknown model", "anthropic", charge("claude-opus-5-7", one), "", `"claude-opus-5-7"`},
		{"unknown provider", "acme", charge("gpt-5", one), "", "acme"},
		{"another provider's model", "anthropic", charge("gpt-5", one), "", `"gpt-5"`},
		{"one of two models", "anthropic", append(charge("claude-opus-5", one), charge("advisor", one)...), "", "advisor"},
		{"flex where there is none", "anthropic", charge("claude-opus-5", one), "flex", `"flex"`},
		{"two discounts", "openai", charge("gpt-5", one), "batch+flex", `"flex"`},
		{"priority", "openai", charge("gpt-5", one), "priority", `"priority"`},
		{"fast at an unknown factor", "anthropic", charge("claude-sonnet-5", one), "fast", `"fast"`},
		{"one of two modifiers", "anthropic", charge("claude-opus-4-8", one), "fast+eu", `"eu"`},
		{"another provider's modifier", "openai", charge("gpt-5", one), "us", `"us"`},
		{"no output price", "openai", charge("text-embedding-3-small", usage{Output: 1}), "", "output"},
		{"no price for an hour's cache write", "anthropic", charge("claude-2", usage{CacheWrite1h: 1}), "", "one-hour cache write"},
		{"no prices, and no word why", "google", charge("gemma-3-27b-it", one), "", "no input price"},
		{"calls beside what is free", "openrouter", charge("google/gemini-2.0-flash-exp:free", calls("web_search")), "", "web_search"},
		{"capacity that is paid for otherwise", "google", charge("gemini-2.5-flash", one), "provisioned", `"provisioned"`},
		{"no prices at all", "openai", charge("omni-moderation-latest", one), "", "input"},
		{"billed by the hour", "openai", charge("whisper-1", one), "", "audio_hours"},
		{"images apart", "openai", charge("gpt-image-1", one), "", "image"},
		{"unknown calls", "openai", charge("gpt-5", calls("image_generation")), "", "image_generation"},
		{"calls that the model lists no price for", "openai", charge("gpt-4.1-nano", calls("web_search")), "", "web_search"},
		{"negative count", "openai", charge("gpt-5", usage{Output: -1}), "", "-1"},
		{"negative calls", "openai", charge("gpt-5", usage{ToolCalls: map[string]int64{"web_search": -1}}), "", "-1"},
		{"images that were not counted", "google", charge("gemini-embedding-2", one), "", "image"},
		{"more images and audio than input", "google", charge("gemini-embedding-2", usage{Input: 2, AudioInput: 1, ImageInput: 2, ByModality: true}), "", "images"},
		{"Google's priority tier", "google", charge("gemini-2.5-flash", one), "priority", `"priority"`},
		{"more audio than input", "openai", charge("gpt-audio", usage{Input: 1, AudioInput: 2}), "", "audio"},
		{"absurd count", "openai", charge("gpt-5", usage{Input: math.MaxInt64, CacheRead: math.MaxInt64}), "", "cannot be true"},
		{"absurd cost", "openai", charge("o1-pro", usage{Output: 1 << 60}), "", "too large"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := pricing.Bundled().Cost(tt.provider, tt.charges, tt.tier, november)
			if got.Known || got.NanoUSD != 0 || !strings.Contains(got.Reason, tt.reason) {
				t.Errorf("got %+v, want an unknown cost with %q in the reason", got, tt.reason)
			}
		})
	}
}

// TestNormalTiers are the names for being served at the list price.
func TestNormalTiers(t *testing.T) {
	charges := []provider.Charge{{Model: "gpt-5", Usage: provider.Usage{Output: 1}}}
	for _, tier := range []string{"", "default", "standard", "standard_only", "auto", "on_demand", "ON_DEMAND"} {
		if got := pricing.Bundled().Cost("openai", charges, tier, november); got.NanoUSD != 10_000 {
			t.Errorf("tier %q: %+v", tier, got)
		}
	}
}

// TestHistory prices requests on both sides of each kind of change.
func TestHistory(t *testing.T) {
	long := provider.Usage{Input: 300_000}
	tests := []struct {
		provider, model string
		usage           provider.Usage
		at              string
		want            int64
	}{
		{"anthropic", "claude-opus-4-6", long, "2026-03-12T23:59:59.999Z", 3_000_000_000},
		{"anthropic", "claude-opus-4-6", long, "2026-03-13T00:00:00Z", 1_500_000_000},
		{"anthropic", "claude-opus-4-6", long, "2026-03-12T20:00:00-05:00", 1_500_000_000},
		{"openai", "gpt-5.6-sol", provider.Usage{Output: 1}, "2026-08-20T23:59:59Z", 30_000},
		{"openai", "gpt-5.6-sol", provider.Usage{Output: 1}, "2026-08-21T00:00:00Z", 20_000},
		{"openai", "o3", provider.Usage{Output: 1}, "2025-06-09T12:00:00Z", 40_000},
		{"openai", "o3", provider.Usage{Output: 1}, "0001-01-01T00:00:00Z", 40_000},
	}
	for _, tt := range tests {
		charges := []provider.Charge{{Model: tt.model, Usage: tt.usage}}
		got := pricing.Bundled().Cost(tt.provider, charges, "", day(t, tt.at))
		if !got.Known || got.NanoUSD != tt.want {
			t.Errorf("%s at %s: got %+v, want %d", tt.model, tt.at, got, tt.want)
		}
	}
}

// TestRoundsOnce: halves of a nano-USD add up before they are rounded.
func TestRoundsOnce(t *testing.T) {
	tests := []struct {
		reads []int64 // at 37.5 nano-USD each
		want  int64
	}{
		{[]int64{1}, 38}, // a half rounds up
		{[]int64{1, 1}, 75},
		{[]int64{1, 1, 1}, 113},
		{[]int64{3, 1}, 150},
	}
	for _, tt := range tests {
		var charges []provider.Charge
		for _, n := range tt.reads {
			charges = append(charges, provider.Charge{Model: "openai/gpt-oss-20b", Usage: provider.Usage{CacheRead: n}})
		}
		if got := pricing.Bundled().Cost("groq", charges, "", november); got.NanoUSD != tt.want {
			t.Errorf("reads of %v: got %+v, want %d", tt.reads, got, tt.want)
		}
	}
}
