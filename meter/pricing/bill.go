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

// bucket is a part of a usage with a price of its own.
type bucket struct {
	what  string
	count func(provider.Usage) int64
	// keys are the prices that fit, the most specific first. Of an override
	// only the first own fit, if own is not 0.
	keys []string
	own  int
}

// buckets takes a usage apart: each billed token is in exactly one.
var buckets = []bucket{
	{
		"input", func(u provider.Usage) int64 { return u.Input - u.AudioInput - u.ImageInput - u.VideoInput },
		[]string{"input_mtok"},
		0,
	},
	{
		"audio input", func(u provider.Usage) int64 { return u.AudioInput },
		[]string{"input_audio_mtok", "input_mtok"},
		0,
	},
	{
		"cache read", func(u provider.Usage) int64 { return u.CacheRead - u.CachedAudioInput - u.CachedImageInput },
		[]string{"cache_read_mtok", "input_mtok"},
		1,
	},
	{
		"cached audio", func(u provider.Usage) int64 { return u.CachedAudioInput },
		[]string{"cache_audio_read_mtok", "cache_read_mtok", "input_audio_mtok", "input_mtok"},
		2,
	},
	{
		"cache write", func(u provider.Usage) int64 { return u.CacheWrite5m },
		[]string{"cache_write_5m_mtok", "cache_write_mtok", "input_mtok"},
		2,
	},
	{
		"one-hour cache write", func(u provider.Usage) int64 { return u.CacheWrite1h },
		[]string{"cache_write_1h_mtok"},
		0,
	},
	{
		"output", func(u provider.Usage) int64 { return u.Output - u.AudioOutput - u.ImageOutput - u.VideoOutput },
		[]string{"output_mtok"},
		0,
	},
	{
		"audio output", func(u provider.Usage) int64 { return u.AudioOutput },
		[]string{"output_audio_mtok", "output_mtok"},
		0,
	},
	{
		"image input", func(u provider.Usage) int64 { return u.ImageInput },
		[]string{"input_image_mtok", "input_mtok"},
		0,
	},
	{
		"cached image", func(u provider.Usage) int64 { return u.CachedImageInput },
		[]string{"cache_image_read_mtok", "cache_read_mtok", "input_image_mtok", "input_mtok"},
		2,
	},
	{
		"image output", func(u provider.Usage) int64 { return u.ImageOutput },
		[]string{"output_image_mtok", "output_mtok"},
		0,
	},
	{
		"video input", func(u provider.Usage) int64 { return u.VideoInput },
		[]string{"input_video_mtok", "input_mtok"},
		0,
	},
	{
		"video output", func(u provider.Usage) int64 { return u.VideoOutput },
		[]string{"output_video_mtok", "output_mtok"},
		0,
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

// Bill is a Cost with the arithmetic that led to it.
type Bill struct {
	Cost
	// Parts are those of each charge, up to the one whose cost is not known.
	Parts []Part
}

// Part is what one charge costs.
type Part struct {
	// Model is the name in the charge. Entry is the book's entry for it, of
	// Provider's list; for an override it is the pattern.
	Model, Entry, Provider string
	// Source is the Cost.Source of the entry's prices, When what String says
	// of their period: "since 2026-03-13", or "" for always.
	Source, When string
	// Prompt is the length of the whole prompt, which chooses the tier.
	Prompt int64
	Lines  []Line
}

// Line is one product: Count times the price, times the mode's factor.
type Line struct {
	// What is counted: "input", "cache read", "web_search calls".
	What  string
	Count int64
	// USD is the list's price of Per tokens or calls, an exact decimal.
	USD string
	Per int64
	// Above is the prompt's length above which this price applies; 0 is the
	// base price.
	Above int64
	// Factor is what the service tier multiplies the price by, such as 0.5
	// for a batch; "1" if nothing.
	Factor string
	// NanoUSD is the exact product, in 1e-9 USD.
	NanoUSD string
}

// Bill is Cost with its arithmetic.
func (b *Book) Bill(providerName string, charges []provider.Charge, tier string, at time.Time) Bill {
	bill := Bill{Cost: Cost{Source: b.source}}
	sum := new(big.Rat)
	if err := b.bill(&bill, sum, providerName, charges, tier, at); err != nil {
		bill.Reason = err.Error()
		return bill
	}
	nano := floor(sum.Add(sum, big.NewRat(1, 2)))
	if !nano.IsInt64() {
		bill.Reason = "the cost is too large to be true"
		return bill
	}
	bill.NanoUSD, bill.Known = nano.Int64(), true
	return bill
}

func floor(r *big.Rat) *big.Int { return new(big.Int).Div(r.Num(), r.Denom()) }

func (b *Book) bill(bill *Bill, sum *big.Rat, providerName string, charges []provider.Charge, tier string, at time.Time) error {
	if len(charges) == 0 {
		return errors.New("the exchange names no usage")
	}
	for _, c := range charges {
		m, listed := b.find(providerName, c.Model, at)
		switch {
		case c.Model == "":
			return errors.New("the exchange names no model")
		case m == nil:
			return fmt.Errorf("%s's model %q is not in the price book", providerName, c.Model)
		}
		if m.override {
			bill.Source = sourceOverride
		}
		factor, err := tierFactor(providerName, b.bundledID(m, providerName, c.Model), tier)
		if err != nil {
			return fmt.Errorf("model %q: %w", c.Model, err)
		}
		p := m.periodAt(at)
		part := Part{
			Model: c.Model, Entry: m.ID, Provider: listed, Source: b.source, When: p.Constraint.String(), Prompt: c.Prompt(),
		}
		if m.override {
			part.Source = sourceOverride
		}
		prices := p.Prices
		if len(prices) == 0 && strings.HasSuffix(strings.ToLower(c.Model), ":free") {
			prices = free
		}
		part.Lines, err = m.bill(sum, prices, c, factor)
		if err != nil {
			return fmt.Errorf("model %q: %w", c.Model, err)
		}
		bill.Parts = append(bill.Parts, part)
	}
	return nil
}

// free are the prices of an entry that lists none, of a model whose name says
// why. No other one that lists none is held to be free.
var free = rates{"input_mtok": {base: new(big.Rat)}, "output_mtok": {base: new(big.Rat)}}

// bundledID is what the bundled list calls the model: its modes multiply an
// override's prices too.
func (b *Book) bundledID(m *model, providerName, name string) string {
	if m.override {
		bundled := &Book{listings: b.listings}
		if m, _ = bundled.find(providerName, name, time.Time{}); m == nil {
			return ""
		}
	}
	return m.ID
}

// bill adds to sum, in nano-USD, what the usage costs; factor multiplies the
// prices of tokens.
func (m *model) bill(sum *big.Rat, r rates, c provider.Charge, factor *big.Rat) (lines []Line, err error) {
	u := c.Usage
	if err := plausible(u); err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(r)) {
		if !m.billable(key) || !u.ByModality && (strings.Contains(key, "image") || strings.Contains(key, "video")) {
			return nil, fmt.Errorf("it has a price for %q, and the usage does not tell how much of that there was", key)
		}
	}
	prompt := c.Prompt()
	add := func(what, key string, n int64, factor *big.Rat) {
		price, above := r[key].at(prompt)
		product := new(big.Rat).Mul(price, new(big.Rat).SetInt64(n))
		product.Mul(product, factor)
		sum.Add(sum, product)
		lines = append(lines, Line{
			What: what, Count: n, USD: usd(price, unitsOf(key)), Per: unitsOf(key), Above: above,
			Factor: text(factor), NanoUSD: text(product),
		})
	}
	for _, b := range buckets {
		n := b.count(u)
		if n == 0 {
			continue
		}
		key, ok := r.first(m.keys(b))
		if !ok {
			return nil, fmt.Errorf("%s has no %s price", m.whose(), b.what)
		}
		add(b.what, key, n, factor)
	}
	for _, name := range slices.Sorted(maps.Keys(u.ToolCalls)) {
		n := u.ToolCalls[name]
		if n == 0 {
			continue
		}
		key := m.callKey(name)
		if _, ok := r[key]; !ok {
			return nil, fmt.Errorf("%s has no price for %s calls", m.whose(), name)
		}
		add(name+" calls", key, n, list)
	}
	return lines, nil
}

// whose names the book that the model's prices are from.
func (m *model) whose() string {
	if m.override {
		return fmt.Sprintf("[pricing.%q]", m.ID)
	}
	return "the price book"
}

// keys are the prices that fit a bucket. What the user set stands alone: a
// price for cache reads that is missing there would be a guess.
func (m *model) keys(b bucket) []string {
	if m.override && b.own > 0 {
		return b.keys[:b.own]
	}
	return b.keys
}

// callKey is the key of the price of a kind of calls.
func (m *model) callKey(name string) string {
	if m.override {
		return callPrefix + name + "_kcount"
	}
	return callPrices[name]
}

// billable reports whether a usage can tell how much of a price's unit there
// was. It cannot for seconds of audio or pages.
func (m *model) billable(key string) bool {
	return m.override || billable(key)
}

// usd is a price in nano-USD a unit as USD for so many of them.
func usd(price *big.Rat, units int64) string {
	return text(new(big.Rat).Mul(price, big.NewRat(units, nanoPerUSD)))
}

// text writes a number whose denominator has no other factors than 2 and 5.
func text(r *big.Rat) string {
	digits, _ := r.FloatPrec()
	return r.FloatString(digits)
}

// first returns the first of the keys that has a price.
func (r rates) first(keys []string) (string, bool) {
	for _, key := range keys {
		if _, ok := r[key]; ok {
			return key, true
		}
	}
	return "", false
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
