package pricing

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

//go:generate node gen/generate.mjs

// bundled is data of @pydantic/genai-prices, under the MIT licence in
// genai-prices/LICENSE.
//
//go:embed genai-prices/prices.json
var bundled []byte

// Bundled returns the book that the program was built with. All callers share
// it; it is parsed at the first call.
func Bundled() *Book { return bundledOnce() }

var bundledOnce = sync.OnceValue(func() *Book {
	b, err := parseBook(bundled)
	if err != nil {
		panic(fmt.Sprintf("pricing: the bundled prices: %v", err))
	}
	return b
})

// listing is a provider's part of the book.
type listing struct {
	ID string `json:"id"`
	// Fallback names providers whose models are sold here at their prices.
	Fallback []string `json:"fallback"`
	Models   []model  `json:"models"`
}

// model is a model, or a family of them, that shares its prices.
type model struct {
	ID      string   `json:"id"`
	Match   clause   `json:"match"`
	History []period `json:"prices"`
}

// period is prices and when they apply: always, from a day on, or between two
// times of every day.
type period struct {
	Constraint *constraint `json:"constraint"`
	Prices     rates       `json:"prices"`
}

// rates holds a model's prices by genai-prices' key, such as "input_mtok".
type rates map[string]rate

// rate is a price in femto-USD (1e-15 USD) a token or a call.
type rate struct {
	base  int64
	steps []step // by above, ascending
}

// step is the price for prompts of more than above tokens.
type step struct{ above, price int64 }

func parseBook(data []byte) (*Book, error) {
	var file struct {
		Date      string    `json:"date"`
		Providers []listing `json:"providers"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("parse prices: %w", err)
	}
	if _, err := time.Parse(time.DateOnly, file.Date); err != nil {
		return nil, fmt.Errorf("parse prices: %w", err)
	}
	b := &Book{source: "bundled-" + file.Date, listings: make(map[string]*listing)}
	for i := range file.Providers {
		l := &file.Providers[i]
		for _, m := range l.Models {
			if err := m.check(); err != nil {
				return nil, fmt.Errorf("parse prices of %s %s: %w", l.ID, m.ID, err)
			}
		}
		b.listings[l.ID] = l
	}
	return b, nil
}

// check reports what would let a model's prices be read in two ways.
func (m *model) check() error {
	if m.Match == nil || len(m.History) == 0 {
		return errors.New("no match clause or no prices")
	}
	for _, p := range m.History {
		_, audio := p.Prices["input_audio_mtok"]
		_, cache := p.Prices["cache_read_mtok"]
		_, both := p.Prices["cache_audio_read_mtok"]
		if audio && cache && !both {
			return errors.New("audio and cache reads are priced, but not cached audio")
		}
	}
	return nil
}

// UnmarshalJSON reads prices, each per as many units as its key says.
func (r *rates) UnmarshalJSON(data []byte) error {
	var prices map[string]json.RawMessage
	if err := json.Unmarshal(data, &prices); err != nil {
		return err
	}
	*r = make(rates, len(prices))
	for key, price := range prices {
		var err error
		if (*r)[key], err = parseRate(price, unitsOf(key)); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

// unitsOf is how many tokens, calls or other things the prices of a key are for.
func unitsOf(key string) int64 {
	switch {
	case strings.HasSuffix(key, "_mtok"):
		return 1_000_000
	case strings.HasSuffix(key, "_kcount"), strings.HasSuffix(key, "_kpages"):
		return 1_000
	}
	return 1
}

// parseRate reads a plain price, or one with tiers by the prompt's length.
func parseRate(data json.RawMessage, units int64) (rate, error) {
	var tiered struct {
		Base  json.Number `json:"base"`
		Tiers []struct {
			Start int64       `json:"start"`
			Price json.Number `json:"price"`
		} `json:"tiers"`
	}
	if !bytes.HasPrefix(data, []byte("{")) {
		base, err := parsePrice(string(data), units)
		return rate{base: base}, err
	}
	if err := json.Unmarshal(data, &tiered); err != nil {
		return rate{}, err
	}
	base, err := parsePrice(tiered.Base.String(), units)
	if err != nil {
		return rate{}, err
	}
	r := rate{base: base}
	for _, t := range tiered.Tiers {
		price, err := parsePrice(t.Price.String(), units)
		if err != nil {
			return rate{}, err
		}
		r.steps = append(r.steps, step{t.Start, price})
	}
	slices.SortFunc(r.steps, func(a, b step) int { return int(a.above - b.above) })
	return r, nil
}

// parsePrice turns a decimal price in USD for a number of units into
// femto-USD a unit, or fails if that is not a whole number of them.
func parsePrice(usd string, units int64) (int64, error) {
	price, ok := new(big.Rat).SetString(usd)
	if !ok || price.Sign() < 0 {
		return 0, fmt.Errorf("%q is not a price", usd)
	}
	price.Mul(price, big.NewRat(1e15, units))
	if !price.IsInt() || !price.Num().IsInt64() {
		return 0, fmt.Errorf("the price %s is too fine or too large", usd)
	}
	return price.Num().Int64(), nil
}

// at is the price for a prompt of so many tokens.
func (r rate) at(prompt int64) int64 {
	price := r.base
	for _, s := range r.steps {
		if prompt > s.above {
			price = s.price
		}
	}
	return price
}

// listingIDs are genai-prices' names of the providers that provider.Endpoint
// names otherwise.
var listingIDs = map[string]string{"xai": "x-ai", "moonshot": "moonshotai"}

// find finds a model by its name.
func (b *Book) find(providerName, name string) *model {
	providerName = strings.ToLower(providerName)
	l := b.listings[cmp.Or(listingIDs[providerName], providerName)]
	if l == nil {
		return nil
	}
	name = strings.ToLower(strings.TrimSpace(name))
	for _, spelling := range []string{name, dashDates(name)} {
		if m := l.find(spelling); m != nil {
			return m
		}
		for _, other := range l.Fallback {
			if m := b.listings[other].find(spelling); m != nil {
				return m
			}
		}
	}
	return nil
}

// find finds the first model whose clause matches.
func (l *listing) find(name string) *model {
	if l == nil {
		return nil
	}
	for i, m := range l.Models {
		if m.Match(name) {
			return &l.Models[i]
		}
	}
	return nil
}

var compactDate = regexp.MustCompile(`-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])`)

// dashDates rewrites dates like -20250807 in a model's name as -2025-08-07:
// gateways write them in the first way where the provider uses the second.
func dashDates(name string) string {
	var out strings.Builder
	rest := 0
	for _, at := range compactDate.FindAllStringIndex(name, -1) {
		start, end := at[0], at[1]
		date, err := time.Parse("-20060102", name[start:end])
		if err != nil || end < len(name) && name[end] != '-' && name[end] != ':' {
			continue
		}
		out.WriteString(name[rest:start])
		out.WriteString(date.Format("-2006-01-02"))
		rest = end
	}
	return out.String() + name[rest:]
}

// pricesAt is what the model cost at that time: the last listed period that
// holds then, or else the first.
func (m *model) pricesAt(at time.Time) rates {
	for _, p := range slices.Backward(m.History) {
		if p.Constraint.holds(at) {
			return p.Prices
		}
	}
	return m.History[0].Prices
}
