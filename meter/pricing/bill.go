package pricing

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/haltonlabs/halton-meter/meter/provider"
)

// maxCount bounds each count, so that a prompt's length cannot overflow.
const maxCount = 1 << 60

// femtoPerNano is how many femto-USD a nano-USD has.
const femtoPerNano = 1_000_000

// bucket is a part of a usage with a price of its own.
type bucket struct {
	what  string
	count func(provider.Usage) int64
	// keys are the prices that fit, the most specific first.
	keys []string
}

// buckets takes a usage apart: each billed token is in exactly one.
var buckets = []bucket{
	{
		"input", func(u provider.Usage) int64 { return u.Input - u.AudioInput - u.ImageInput - u.VideoInput },
		[]string{"input_mtok"},
	},
	{
		"audio input", func(u provider.Usage) int64 { return u.AudioInput },
		[]string{"input_audio_mtok", "input_mtok"},
	},
	{
		"cache read", func(u provider.Usage) int64 { return u.CacheRead - u.CachedAudioInput - u.CachedImageInput },
		[]string{"cache_read_mtok", "input_mtok"},
	},
	{
		"cached audio", func(u provider.Usage) int64 { return u.CachedAudioInput },
		[]string{"cache_audio_read_mtok", "cache_read_mtok", "input_audio_mtok", "input_mtok"},
	},
	{
		"cache write", func(u provider.Usage) int64 { return u.CacheWrite5m },
		[]string{"cache_write_5m_mtok", "cache_write_mtok", "input_mtok"},
	},
	{
		"one-hour cache write", func(u provider.Usage) int64 { return u.CacheWrite1h },
		[]string{"cache_write_1h_mtok"},
	},
	{
		"output", func(u provider.Usage) int64 { return u.Output - u.AudioOutput - u.ImageOutput - u.VideoOutput },
		[]string{"output_mtok"},
	},
	{
		"audio output", func(u provider.Usage) int64 { return u.AudioOutput },
		[]string{"output_audio_mtok", "output_mtok"},
	},
	{
		"image input", func(u provider.Usage) int64 { return u.ImageInput },
		[]string{"input_image_mtok", "input_mtok"},
	},
	{
		"cached image", func(u provider.Usage) int64 { return u.CachedImageInput },
		[]string{"cache_image_read_mtok", "cache_read_mtok", "input_image_mtok", "input_mtok"},
	},
	{
		"image output", func(u provider.Usage) int64 { return u.ImageOutput },
		[]string{"output_image_mtok", "output_mtok"},
	},
	{
		"video input", func(u provider.Usage) int64 { return u.VideoInput },
		[]string{"input_video_mtok", "input_mtok"},
	},
	{
		"video output", func(u provider.Usage) int64 { return u.VideoOutput },
		[]string{"output_video_mtok", "output_mtok"},
	},
}

// callPrices maps the calls of provider.Usage to the keys of their prices. A
// call that is not here has no price.
var callPrices = map[string]string{
	"web_search":     "web_searches_kcount",
	"file_search":    "storage_searches_kcount",
	"x_search":       "social_searches_kcount",
	"code_execution": "code_executions_kcount",
}

// billable reports whether a usage can tell how much of a price's unit there
// was. It cannot for seconds of audio or pages.
func billable(key string) bool {
	for _, b := range buckets {
		if slices.Contains(b.keys, key) {
			return true
		}
	}
	for _, known := range callPrices {
		if key == known {
			return true
		}
	}
	return false
}

func (b *Book) cost(providerName string, charges []provider.Charge, tier string, at time.Time) (int64, error) {
	if len(charges) == 0 {
		return 0, errors.New("the exchange names no usage")
	}
	sum := new(big.Int)
	for _, c := range charges {
		m := b.find(providerName, c.Model)
		switch {
		case c.Model == "":
			return 0, errors.New("the exchange names no model")
		case m == nil:
			return 0, fmt.Errorf("%s's model %q is not in the price book", providerName, c.Model)
		}
		factor, err := tierFactor(providerName, m.ID, tier)
		if err == nil {
			err = m.pricesAt(at).bill(sum, c.Usage, factor)
		}
		if err != nil {
			return 0, fmt.Errorf("model %q: %w", c.Model, err)
		}
	}
	const unit = femtoPerNano * list
	sum.Add(sum, big.NewInt(unit/2))
	sum.Div(sum, big.NewInt(unit))
	if !sum.IsInt64() {
		return 0, errors.New("the cost is too large to be true")
	}
	return sum.Int64(), nil
}

// bill adds to sum, in femto-USD/2, what the usage costs; factor multiplies
// the prices of tokens, in halves.
func (r rates) bill(sum *big.Int, u provider.Usage, factor int64) error {
	if err := plausible(u); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(r)) {
		if !billable(key) || !u.ByModality && (strings.Contains(key, "image") || strings.Contains(key, "video")) {
			return fmt.Errorf("it has a price for %q, and the usage does not tell how much of that there was", key)
		}
	}
	add := func(n, price, factor int64) {
		cost := new(big.Int).Mul(big.NewInt(n), big.NewInt(price))
		sum.Add(sum, cost.Mul(cost, big.NewInt(factor)))
	}
	prompt := u.Prompt()
	for _, b := range buckets {
		n := b.count(u)
		if n == 0 {
			continue
		}
		price, ok := r.first(b.keys)
		if !ok {
			return fmt.Errorf("the price book has no %s price", b.what)
		}
		add(n, price.at(prompt), factor)
	}
	for _, name := range slices.Sorted(maps.Keys(u.ToolCalls)) {
		n := u.ToolCalls[name]
		if n == 0 {
			continue
		}
		price, ok := r[callPrices[name]]
		if !ok {
			return fmt.Errorf("the price book has no price for %s calls", name)
		}
		add(n, price.at(prompt), list)
	}
	return nil
}

// first returns the first of the keys' prices that is listed.
func (r rates) first(keys []string) (rate, bool) {
	for _, key := range keys {
		if price, ok := r[key]; ok {
			return price, true
		}
	}
	return rate{}, false
}

// plausible rejects counts that contradict each other or that nobody can use.
func plausible(u provider.Usage) error {
	counts := slices.AppendSeq([]int64{
		u.Input, u.CacheRead, u.CacheWrite5m, u.CacheWrite1h, u.Output,
		u.AudioInput, u.CachedAudioInput, u.AudioOutput,
		u.ImageInput, u.CachedImageInput, u.ImageOutput, u.VideoInput, u.VideoOutput,
	}, maps.Values(u.ToolCalls))
	for _, n := range counts {
		if n < 0 || n > maxCount {
			return fmt.Errorf("a count of %d cannot be true", n)
		}
	}
	if u.AudioInput+u.ImageInput+u.VideoInput > u.Input || u.CachedAudioInput+u.CachedImageInput > u.CacheRead ||
		u.AudioOutput+u.ImageOutput+u.VideoOutput > u.Output {
		return errors.New("the usage names more tokens of audio, images and video than tokens")
	}
	return nil
}

// list is the factor of the list price: factors count halves.
const list = 2

// halved are the tiers at which every price of tokens is half the list's:
//   - https://platform.claude.com/docs/en/build-with-claude/batch-processing
//   - https://developers.openai.com/api/docs/guides/batch
//   - https://developers.openai.com/api/docs/guides/flex-processing, "priced at
//     Batch API rates"
//   - https://ai.google.dev/gemini-api/docs/optimization, "50% discount"
var halved = map[string]bool{"anthropic batch": true, "openai batch": true, "openai flex": true, "google flex": true}

// tierFactor is what a service tier multiplies the prices of tokens by, in
// halves. The tiers named last may be joined by "+"; see provider.Result.
func tierFactor(providerName, modelID, tier string) (int64, error) {
	factor := int64(list)
	for part := range strings.SplitSeq(strings.ToLower(tier), "+") {
		switch part {
		case "", "default", "standard", "standard_only", "auto", "on_demand":
			continue
		case "fast":
			// Other models' fast modes have other factors: six on Opus 4.7.
			// See https://platform.claude.com/docs/en/build-with-claude/fast-mode.
			if providerName == "anthropic" && modelID == "claude-opus-4-8" {
				factor *= 2
				continue
			}
		case "batch", "flex":
			if halved[providerName+" "+part] && factor%2 == 0 {
				factor /= 2
				continue
			}
		}
		return 0, fmt.Errorf("the price book does not know the prices of the service tier %q", part)
	}
	return factor, nil
}
