package pricing

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"
)

// sourceOverride is the Cost.Source of prices that the user set.
const sourceOverride = "override"

// Override is prices that the user sets: for a model that the book does not
// have, or instead of the book's. They stand alone: what they lack is not
// taken from the book.
type Override struct {
	// Models is a pattern of models' names, in which "*" stands for any text.
	// Where several overrides fit a name, the one with the most other
	// letters counts.
	Models string
	// Provider limits it to one provider; "" is every one.
	Provider string
	// Since is from when on the prices apply; zero is always.
	Since time.Time
	Prices
	// Tiers are prices for long prompts; a price that they lack stays.
	Tiers []OverrideTier
}

// OverrideTier is prices for prompts of more than Above tokens.
type OverrideTier struct {
	Above int64
	Prices
}

// Prices are plain decimal numbers of US dollars. An empty one is not known,
// and a cost that needs it neither; but audio, images and video cost what other
// tokens do where they have no price.
type Prices struct {
	// Tokens has prices of a million tokens, by a name of PriceNames.
	Tokens map[string]string
	// Calls has prices of a thousand calls, by the name that a row's
	// tool_calls have: "web_search".
	Calls map[string]string
}

// priceKeys are the keys of the prices that an override can name.
var priceKeys = map[string]string{
	"input": "input_mtok", "output": "output_mtok",
	"cache_read": "cache_read_mtok", "cache_write": "cache_write_mtok", "cache_write_1h": "cache_write_1h_mtok",
	"audio_input": "input_audio_mtok", "audio_cache_read": "cache_audio_read_mtok", "audio_output": "output_audio_mtok",
	"image_input": "input_image_mtok", "image_cache_read": "cache_image_read_mtok", "image_output": "output_image_mtok",
	"video_input": "input_video_mtok", "video_output": "output_video_mtok",
}

// callPrefix begins the keys of an override's prices of calls.
const callPrefix = "call "

// PriceNames are the names of prices in Prices.Tokens, sorted.
func PriceNames() []string { return slices.Sorted(maps.Keys(priceKeys)) }

// override is a parsed Override.
type override struct {
	provider string
	model    model
}

// With returns a book with the overrides before the entries of b. The error
// names the override and the price that cannot be.
func (b *Book) With(overrides []Override) (*Book, error) {
	with := *b
	with.overrides = slices.Clone(b.overrides)
	for _, o := range overrides {
		parsed, err := o.parse()
		if err != nil {
			return nil, fmt.Errorf("pricing.%q: %w", o.Models, err)
		}
		with.overrides = append(with.overrides, parsed)
	}
	letters := func(o override) int { return len(o.model.ID) - strings.Count(o.model.ID, "*") }
	slices.SortStableFunc(with.overrides, func(a, b override) int {
		return cmp.Or(
			cmp.Compare(letters(b), letters(a)),
			cmp.Compare(strings.Count(a.model.ID, "*"), strings.Count(b.model.ID, "*")),
			strings.Compare(a.model.ID, b.model.ID),
		)
	})
	return &with, nil
}

// maxPattern bounds a pattern: no model's name is that long.
const maxPattern = 256

func (o Override) parse() (override, error) {
	pattern := strings.TrimSpace(o.Models)
	if pattern == "" || len(pattern) > maxPattern || o.Provider == "" && strings.Trim(pattern, "*") == "" {
		return override{}, errors.New(`the table's name is no pattern of models' names: write one such as "acme-large-*", or "*" with a provider`)
	}
	r, err := o.Prices.parse("")
	if err != nil {
		return override{}, err
	}
	if len(r) == 0 {
		return override{}, errors.New(`no price is named: write one such as input = "3"`)
	}
	for i, t := range o.Tiers {
		if t.Above <= 0 || t.Above > maxCount {
			return override{}, fmt.Errorf("tiers[%d].above = %d: write the prompt's length above which it applies, such as 200000", i, t.Above)
		}
		prices, err := t.parse(fmt.Sprintf("tiers[%d].", i))
		if err != nil {
			return override{}, err
		}
		for key, price := range prices {
			base, ok := r[key]
			if !ok {
				return override{}, fmt.Errorf("tiers[%d] has a price that the table itself lacks: write the price of short prompts too", i)
			}
			base.steps = append(base.steps, step{t.Above, price.base})
			base.sort()
			r[key] = base
		}
	}
	p := period{Prices: r}
	if !o.Since.IsZero() {
		p.Constraint = &constraint{from: o.Since}
	}
	return override{
		strings.ToLower(o.Provider),
		model{ID: pattern, Match: glob(pattern), History: []period{p}, override: true},
	}, nil
}

// plainPrice is how an override's prices are written.
var plainPrice = regexp.MustCompile(`^\d{1,9}(\.\d{1,15})?$`)

// Bounds of what can be a price in USD of a million tokens or a thousand calls.
// Below, it is one of a single token; above, one in another currency's
// smallest coin.
var (
	leastPrice = big.NewRat(1, 10_000)
	mostPrice  = big.NewRat(100_000, 1)
)

func (p Prices) parse(where string) (rates, error) {
	r := rates{}
	add := func(name, key, value, unit string) error {
		if value == "" {
			return nil
		}
		wrong := func(what string) error {
			return fmt.Errorf("%s%s = %s %s: write US dollars per %s, such as \"3\" or \"0.25\"", where, name, value, what, unit)
		}
		if !plainPrice.MatchString(value) {
			return wrong("is not a plain decimal number")
		}
		number, _ := new(big.Rat).SetString(value)
		switch {
		case number.Sign() > 0 && number.Cmp(leastPrice) < 0:
			return wrong("is too small, as a price of one would be")
		case number.Cmp(mostPrice) > 0:
			return wrong("is too large")
		}
		price, err := parsePrice(value, unitsOf(key))
		r[key] = rate{base: price}
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(p.Tokens)) {
		key, ok := priceKeys[name]
		if !ok {
			return nil, fmt.Errorf("%s%s is no price: write one of %s", where, name, strings.Join(PriceNames(), ", "))
		}
		if err := add(name, key, p.Tokens[name], "million tokens"); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Calls)) {
		if err := add("calls."+name, callPrefix+name+"_kcount", p.Calls[name], "thousand calls"); err != nil {
			return nil, err
		}
	}
	return r, nil
}
