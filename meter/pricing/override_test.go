package pricing_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haltonlabs/halton-meter/meter/pricing"
	"github.com/haltonlabs/halton-meter/meter/provider"
)

// tokens makes prices of tokens: "input=3 output=15".
func tokens(list string) pricing.Prices {
	p := pricing.Prices{Tokens: map[string]string{}}
	for pair := range strings.FieldsSeq(list) {
		name, usd, _ := strings.Cut(pair, "=")
		p.Tokens[name] = usd
	}
	return p
}

func TestOverride(t *testing.T) {
	searches := tokens("input=2 output=4")
	searches.Calls = map[string]string{"web_search": "12.5"}
	long := pricing.Override{Models: "long-1", Prices: tokens("input=1 output=2"), Tiers: []pricing.OverrideTier{
		{Above: 1000, Prices: tokens("input=4 output=8")}, {Above: 100, Prices: tokens("input=2")},
	}}
	book, err := pricing.Bundled().With([]pricing.Override{
		{Models: "acme-*", Prices: tokens("input=1 output=2")},
		{Models: "acme-large-*", Prices: tokens("input=3.000000001 output=15")},
		{Models: "*", Provider: "corp", Prices: searches},
		{Models: "claude-opus-4-8", Provider: "anthropic", Since: day(t, "2026-10-01T00:00:00Z"), Prices: tokens("input=4 output=20")},
		long,
	})
	if err != nil {
		t.Fatal(err)
	}
	type usage = provider.Usage
	for _, tt := range []struct {
		name, provider, model, tier string
		usage                       provider.Usage
		at                          string
		want                        int64
		reason, source              string
	}{
		{name: "a pattern", provider: "openai", model: "ACME-small", usage: usage{Input: 10, Output: 1}, want: 12_000},
		{name: "the pattern with more letters", provider: "openai", model: "acme-large-2", usage: usage{Output: 2}, want: 30_000},
		{name: "exactly", provider: "openai", model: "acme-large-2", usage: usage{Input: 1_000_000}, want: 3_000_000_001},
		{name: "halves up, once", provider: "openai", model: "acme-large-2", usage: usage{Input: 500_000}, want: 1_500_000_001},
		{name: "one provider's", provider: "corp", model: "anything", usage: usage{Input: 1, ToolCalls: map[string]int64{"web_search": 2}}, want: 25_002_000},
		{name: "not another's", provider: "acme", model: "anything", usage: usage{Input: 1}, reason: "not in the price book"},
		{name: "no price of cache reads is derived", provider: "openai", model: "acme-small", usage: usage{CacheRead: 1}, reason: `[pricing."acme-*"] has no cache read price`},
		{name: "nor of cache writes", provider: "openai", model: "acme-small", usage: usage{CacheWrite1h: 1}, reason: "no one-hour cache write price"},
		{name: "audio and images are tokens", provider: "google", model: "acme-small", usage: usage{Input: 9, AudioInput: 2, ImageInput: 3}, want: 9_000},
		{name: "calls without a price", provider: "openai", model: "acme-small", usage: usage{ToolCalls: map[string]int64{"web_search": 2}}, reason: "web_search calls"},
		{name: "a negotiated price", provider: "anthropic", model: "claude-opus-4-8", usage: usage{Output: 1}, want: 20_000},
		{name: "at its modes", provider: "anthropic", model: "claude-opus-4-8", tier: "batch+fast", usage: usage{Output: 1}, want: 20_000},
		{name: "from its day on", provider: "anthropic", model: "claude-opus-4-8", usage: usage{Output: 1}, at: "2026-09-30T23:59:59Z", want: 25_000, source: "bundled-2026-09-23"},
		{name: "the book's where no pattern fits", provider: "anthropic", model: "claude-opus-4-7", usage: usage{Output: 1}, want: 25_000, source: "bundled-2026-09-23"},
		{name: "short prompts", provider: "x", model: "long-1", usage: usage{Input: 100, Output: 1}, want: 102_000},
		{name: "long prompts", provider: "x", model: "long-1", usage: usage{Input: 101, Output: 1}, want: 204_000},
		{name: "longer prompts", provider: "x", model: "long-1", usage: usage{Input: 1001, Output: 1}, want: 4_012_000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at := november
			if tt.at != "" {
				at = day(t, tt.at)
			}
			got := book.Cost(tt.provider, []provider.Charge{{Model: tt.model, Usage: tt.usage}}, tt.tier, at)
			if got.Known != (tt.reason == "") || got.NanoUSD != tt.want || !strings.Contains(got.Reason, tt.reason) {
				t.Errorf("got %+v, want %d, %q", got, tt.want, tt.reason)
			}
			source := tt.source
			if source == "" {
				source = "override"
			}
			if got.Known && got.Source != source {
				t.Errorf("from %s, want %s", got.Source, source)
			}
		})
	}
	if got := pricing.Bundled().Cost("openai", []provider.Charge{{Model: "acme-small", Usage: usage{Input: 1}}}, "", november); got.Known {
		t.Errorf("the bundled book has changed: %+v", got)
	}
}

// TestOverrideRejects: what cannot be is named, with what to write instead.
func TestOverrideRejects(t *testing.T) {
	for name, tt := range map[string]struct {
		override pricing.Override
		want     []string
	}{
		"negative":       {pricing.Override{Models: "m", Prices: tokens("input=-3")}, []string{`pricing."m"`, "input = -3", "per million tokens"}},
		"infinite":       {pricing.Override{Models: "m", Prices: tokens("input=inf")}, []string{"input = inf", "plain decimal"}},
		"not a number":   {pricing.Override{Models: "m", Prices: tokens("input=nan")}, []string{"input = nan"}},
		"with a unit":    {pricing.Override{Models: "m", Prices: tokens("input=$3/MTok")}, []string{"$3/MTok", `"0.25"`}},
		"of one token":   {pricing.Override{Models: "m", Prices: tokens("input=0.000003")}, []string{"too small", "per million tokens"}},
		"of nano-USD":    {pricing.Override{Models: "m", Prices: tokens("output=3000000")}, []string{"output = 3000000 is too large"}},
		"an exponent":    {pricing.Override{Models: "m", Prices: tokens("output=3e9")}, []string{"output = 3e9"}},
		"unknown name":   {pricing.Override{Models: "m", Prices: tokens("cached=3")}, []string{"cached is no price", "cache_read"}},
		"no price":       {pricing.Override{Models: "m"}, []string{"no price"}},
		"no pattern":     {pricing.Override{Models: " * ", Prices: tokens("input=3")}, []string{"no pattern"}},
		"no length":      {pricing.Override{Models: "m", Prices: tokens("input=3"), Tiers: []pricing.OverrideTier{{Prices: tokens("input=4")}}}, []string{"tiers[0].above = 0", "200000"}},
		"no base price":  {pricing.Override{Models: "m", Prices: tokens("input=3"), Tiers: []pricing.OverrideTier{{Above: 9, Prices: tokens("output=4")}}}, []string{"tiers[0]", "short prompts"}},
		"a tier's price": {pricing.Override{Models: "m", Prices: tokens("input=3"), Tiers: []pricing.OverrideTier{{Above: 9, Prices: tokens("input=x")}}}, []string{"tiers[0].input = x"}},
		"of calls": {
			pricing.Override{Models: "m", Prices: pricing.Prices{Calls: map[string]string{"web_search": "-1"}}},
			[]string{"calls.web_search = -1", "per thousand calls"},
		},
	} {
		_, err := pricing.Bundled().With([]pricing.Override{tt.override})
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
	}
}

// TestBill has the arithmetic of an exchange that was billed at two models, at
// a discount and with a long prompt.
func TestBill(t *testing.T) {
	got := pricing.Bundled().Bill("anthropic", []provider.Charge{
		{Model: "claude-sonnet-4-5-20250929", Usage: provider.Usage{Input: 250_001, Output: 3, ToolCalls: map[string]int64{"web_search": 2}}},
		{Model: "claude-opus-5-5", Usage: provider.Usage{Input: 3, CacheRead: 7}},
	}, "batch", november)
	want := pricing.Bill{
		Cost: pricing.Cost{NanoUSD: 770_043_450, Known: true, Source: "bundled-2026-09-23"},
		Parts: []pricing.Part{
			{
				Model: "claude-sonnet-4-5-20250929", Entry: "claude-sonnet-4-5", Provider: "anthropic", Source: "bundled-2026-09-23", Prompt: 250_001,
				Lines: []pricing.Line{
					{What: "input", Count: 250_001, USD: "6", Per: 1e6, Above: 200_000, Factor: "0.5", NanoUSD: "750003000"},
					{What: "output", Count: 3, USD: "22.5", Per: 1e6, Above: 200_000, Factor: "0.5", NanoUSD: "33750"},
					{What: "web_search calls", Count: 2, USD: "10", Per: 1000, Factor: "1", NanoUSD: "20000000"},
				},
			},
			{
				Model: "claude-opus-5-5", Entry: "claude-opus-5-5", Provider: "anthropic", Source: "bundled-2026-09-23", Prompt: 10,
				Lines: []pricing.Line{
					{What: "input", Count: 3, USD: "4", Per: 1e6, Factor: "0.5", NanoUSD: "6000"},
					{What: "cache read", Count: 7, USD: "0.2", Per: 1e6, Factor: "0.5", NanoUSD: "700"},
				},
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLongest: requests that are summed up have the tier of their longest
// prompt, not of their sum.
func TestLongest(t *testing.T) {
	u := provider.Usage{Input: 300_000}
	for longest, want := range map[int64]int64{0: 1_800_000_000, 150_000: 900_000_000, 200_000: 900_000_000, 200_001: 1_800_000_000} {
		charges := []provider.Charge{{Model: "claude-sonnet-4-5", Usage: u, Longest: longest}}
		if got := pricing.Bundled().Cost("anthropic", charges, "", november); got.NanoUSD != want {
			t.Errorf("longest %d: %+v, want %d", longest, got, want)
		}
	}
}

func TestEntries(t *testing.T) {
	book, err := pricing.Bundled().With([]pricing.Override{{Models: "acme-*", Provider: "corp", Prices: tokens("output=2 input=1")}})
	if err != nil {
		t.Fatal(err)
	}
	entries := book.Entries()
	if len(entries) < 1000 {
		t.Errorf("%d entries", len(entries))
	}
	want := pricing.Entry{
		Provider: "corp", Name: "acme-*", Match: "acme-*", Source: "override",
		Periods: []pricing.Period{{Rates: []pricing.Rate{{Name: "input", USD: "1", Per: 1e6}, {Name: "output", USD: "2", Per: 1e6}}}},
	}
	ignore := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".model" }, cmp.Ignore())
	if diff := cmp.Diff(want, entries[0], ignore); diff != "" {
		t.Errorf("the override (-want +got):\n%s", diff)
	}
	opus, ok := book.Find("anthropic", "claude-opus-4-6-20260205", november)
	if !ok || len(opus.Periods) != 2 {
		t.Fatalf("found %+v, %v", opus, ok)
	}
	if first := opus.Periods[0].Rates[1]; first != (pricing.Rate{Name: "input", USD: "10", Per: 1e6, Above: 200_000}) {
		t.Errorf("the old tier is %+v", first)
	}
	if now := opus.At(november); now.When != "since 2026-03-13" || len(now.Rates) != 6 {
		t.Errorf("now %+v", now)
	}
	if e, ok := book.Find("azure", "claude-opus-4-6", november); !ok || e.Provider != "anthropic" {
		t.Errorf("Azure sells at Anthropic's prices: %+v, %v", e, ok)
	}
	for _, name := range []string{"xai", "moonshot", "openrouter"} {
		if found := strings.Join(book.Providers(), " "); !strings.Contains(found, name) {
			t.Errorf("no %s among %s", name, found)
		}
	}
}
