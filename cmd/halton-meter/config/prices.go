package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/haltonlabs/halton-meter/meter/pricing"
	"github.com/haltonlabs/halton-meter/meter/provider"
)

// Price is a price as it stands in the file, a number or a text: a price is
// never a binary fraction.
type Price string

// UnmarshalText takes the characters of any TOML value.
func (p *Price) UnmarshalText(text []byte) error {
	*p = Price(text)
	return nil
}

// Prices are US dollars per million tokens, and per thousand calls.
type Prices struct {
	Input          Price            `toml:"input"`
	Output         Price            `toml:"output"`
	CacheRead      Price            `toml:"cache_read"`
	CacheWrite     Price            `toml:"cache_write"`
	CacheWrite1h   Price            `toml:"cache_write_1h"`
	AudioInput     Price            `toml:"audio_input"`
	AudioCacheRead Price            `toml:"audio_cache_read"`
	AudioOutput    Price            `toml:"audio_output"`
	ImageInput     Price            `toml:"image_input"`
	ImageCacheRead Price            `toml:"image_cache_read"`
	ImageOutput    Price            `toml:"image_output"`
	VideoInput     Price            `toml:"video_input"`
	VideoOutput    Price            `toml:"video_output"`
	Calls          map[string]Price `toml:"calls"`
}

// Model is a table [pricing."pattern of models' names"].
type Model struct {
	// Provider limits the table to one provider's models.
	Provider string `toml:"provider"`
	// Since is the day from which the prices apply, as a date or as a text.
	Since any `toml:"since"`
	Prices
	// Tiers are prices of long prompts.
	Tiers []Tier `toml:"tiers"`
}

// Tier is prices of prompts of more than Above tokens.
type Tier struct {
	Above int64 `toml:"above"`
	Prices
}

// Host is a table [providers."name of a host"].
type Host struct {
	Format   provider.Format `toml:"format"`
	Provider string          `toml:"provider"`
	BaseURL  string          `toml:"base_url"`
}

// OpenAI is about OpenAI's chat completions, of whichever provider.
type OpenAI struct {
	// IncludeUsage asks for the usage of streams that would not name it, and
	// keeps the chunk that is more than the client asked for to itself.
	IncludeUsage bool `toml:"include_usage"`
}

// Book is the bundled price book with the prices of the file.
func (c Config) Book() (*pricing.Book, error) {
	var overrides []pricing.Override
	for _, models := range slices.Sorted(maps.Keys(c.Pricing)) {
		m := c.Pricing[models]
		since, err := day(m.Since)
		if err != nil {
			return nil, fmt.Errorf("pricing.%q: since = %w", models, err)
		}
		o := pricing.Override{Models: models, Provider: m.Provider, Since: since, Prices: m.prices()}
		for _, t := range m.Tiers {
			o.Tiers = append(o.Tiers, pricing.OverrideTier{Above: t.Above, Prices: t.prices()})
		}
		overrides = append(overrides, o)
	}
	return pricing.Bundled().With(overrides)
}

// day reads a date. It begins at midnight UTC, as those of providers do.
func day(v any) (t time.Time, err error) {
	switch d := v.(type) {
	case nil:
		return t, nil
	case toml.LocalDate:
		return d.AsTime(time.UTC), nil
	case string:
		if t, err = time.Parse(time.DateOnly, d); err == nil {
			return t, nil
		}
	}
	return t, fmt.Errorf("%v is not a date: write one such as 2026-10-01", v)
}

func (p Prices) prices() pricing.Prices {
	out := pricing.Prices{Tokens: map[string]string{}, Calls: map[string]string{}}
	for name, price := range map[string]Price{
		"input": p.Input, "output": p.Output,
		"cache_read": p.CacheRead, "cache_write": p.CacheWrite, "cache_write_1h": p.CacheWrite1h,
		"audio_input": p.AudioInput, "audio_cache_read": p.AudioCacheRead, "audio_output": p.AudioOutput,
		"image_input": p.ImageInput, "image_cache_read": p.ImageCacheRead, "image_output": p.ImageOutput,
		"video_input": p.VideoInput, "video_output": p.VideoOutput,
	} {
		if price != "" {
			out.Tokens[name] = string(price)
		}
	}
	for name, price := range p.Calls {
		out.Calls[name] = string(price)
	}
	return out
}

// Table is what is metered: the built-in places and the hosts of the file.
func (c Config) Table() (*provider.Table, error) {
	var hosts []provider.Host
	for _, name := range slices.Sorted(maps.Keys(c.Providers)) {
		h := c.Providers[name]
		hosts = append(hosts, provider.Host{Name: name, Format: h.Format, Provider: h.Provider, BaseURL: h.BaseURL})
	}
	table, err := provider.NewTable(hosts...)
	if err != nil {
		return nil, fmt.Errorf("[providers]: %w", err)
	}
	return table, nil
}

// keysOf says what may stand in the table of an unknown key.
func keysOf(key []string) string {
	switch {
	case len(key) > 2 && key[0] == "pricing":
		return "; write one of " + strings.Join(pricing.PriceNames(), ", ") +
			" (US dollars per million tokens), calls (per thousand), provider, since, tiers"
	case len(key) > 2 && key[0] == "providers":
		return "; write one of format, provider, base_url"
	}
	return ""
}

// dotted writes a key as TOML does.
func dotted(key toml.Key) string {
	parts := make([]string, len(key))
	for i, part := range key {
		parts[i] = part
		if strings.ContainsAny(part, `. *"`) || i == 1 && (key[0] == "pricing" || key[0] == "providers") {
			parts[i] = fmt.Sprintf("%q", part)
		}
	}
	return strings.Join(parts, ".")
}
