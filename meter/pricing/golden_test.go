package pricing_test

import (
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/meter/pricing"
	"github.com/haltonlabs/halton-meter/meter/provider"
)

// goldenCase is what calcPrice of @pydantic/genai-prices, from whose data the
// book is made, says that a usage cost. gen/golden.mjs writes the cases: over
// all models that can be named, buckets, tiers and dates.
type goldenCase struct {
	Provider, Model string
	At              time.Time
	Usage           struct {
		Input, Read, Write5m, Write1h, Output int64
		AudioIn, CachedAudioIn, AudioOut      int64
		WebSearches, FileSearches             int64
	}
	NanoUSD int64 `json:"nano_usd"`
}

func (c goldenCase) charges() []provider.Charge {
	u := c.Usage
	return []provider.Charge{{Model: c.Model, Usage: provider.Usage{
		Input: u.Input, CacheRead: u.Read, CacheWrite5m: u.Write5m, CacheWrite1h: u.Write1h, Output: u.Output,
		AudioInput: u.AudioIn, CachedAudioInput: u.CachedAudioIn, AudioOutput: u.AudioOut,
		ToolCalls: map[string]int64{"web_search": u.WebSearches, "file_search": u.FileSearches},
	}}}
}

func TestGolden(t *testing.T) {
	cases := readJSON[[]goldenCase](t, "testdata/golden.json")
	if len(cases) < 1000 {
		t.Fatalf("only %d golden cases", len(cases))
	}
	for _, c := range cases {
		got := pricing.Bundled().Cost(c.Provider, c.charges(), "", c.At)
		if !got.Known || got.NanoUSD != c.NanoUSD {
			t.Errorf("%s %s at %s, %+v: got %+v, calcPrice says %d",
				c.Provider, c.Model, c.At.Format(time.RFC3339Nano), c.Usage, got, c.NanoUSD)
		}
	}
}
