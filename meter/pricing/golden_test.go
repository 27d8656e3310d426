package pricing_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/meter/pricing"
	"github.com/haltonlabs/halton-meter/meter/provider"
)

// TestGolden compares with calcPrice of @pydantic/genai-prices, from whose
// data the book is made, over its models, buckets, tiers and dates. The
// script gen/golden.mjs writes the cases.
func TestGolden(t *testing.T) {
	data, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Provider, Model string
		At              time.Time
		Usage           struct {
			Input, Read, Write5m, Write1h, Output int64
			AudioIn, CachedAudioIn, AudioOut      int64
			WebSearches, FileSearches             int64
		}
		NanoUSD int64 `json:"nano_usd"`
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 1000 {
		t.Fatalf("only %d golden cases", len(cases))
	}
	book := pricing.Bundled()
	for _, c := range cases {
		u := c.Usage
		usage := provider.Usage{
			Input: u.Input, CacheRead: u.Read, CacheWrite5m: u.Write5m, CacheWrite1h: u.Write1h, Output: u.Output,
			AudioInput: u.AudioIn, CachedAudioInput: u.CachedAudioIn, AudioOutput: u.AudioOut,
			ToolCalls: map[string]int64{"web_search": u.WebSearches, "file_search": u.FileSearches},
		}
		got := book.Cost(c.Provider, []provider.Charge{{Model: c.Model, Usage: usage}}, "", c.At)
		if !got.Known || got.NanoUSD != c.NanoUSD {
			t.Errorf("%s %s at %s, %+v: got %+v, calcPrice says %d",
				c.Provider, c.Model, c.At.Format(time.RFC3339Nano), c.Usage, got, c.NanoUSD)
		}
	}
}
