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
	ID      string
	Match   clause
	History []period
	// override: the user set the prices.
	override bool
}

// period is prices and when they apply: always, from a day on, or between two
// times of every day.
type period struct {
	Constraint *constraint `json:"constraint"`
	Prices     rates       `json:"prices"`
}

// rates holds a model's prices by genai-prices' key, such as "input_mtok".
type rates map[string]rate

// rate is a price in nano-USD a token or a call.
type rate struct {
	base  *big.Rat
	steps []step // by above, ascending
}

// step is the price for prompts of more than above tokens.
type step struct {
	above int64
	price *big.Rat
}

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

// UnmarshalJSON reads a model.
func (m *model) UnmarshalJSON(data []byte) error {
	var raw struct {
		ID     string          `json:"id"`
		Match  json.RawMessage `json:"match"`
		Prices []period        `json:"prices"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	m.ID, m.History = raw.ID, raw.Prices
	if raw.Match == nil {
		return nil
	}
	var err error
	m.Match, err = parseClause(raw.Match, !families[raw.ID])
	return err
}

// check reports what would let a model's prices be read in two ways.
func (m *model) check() error {
	if m.Match.fits == nil || len(m.History) == 0 {
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
	r.sort()
	return r, nil
}

func (r rate) sort() {
	slices.SortFunc(r.steps, func(a, b step) int { return cmp.Compare(a.above, b.above) })
}

// decimal is how prices are written. The bounds keep a hostile exponent from
// filling the memory with zeros.
var decimal = regexp.MustCompile(`^\d{1,9}(\.\d{1,30})?([eE][+-]?\d{1,2})?$`)

// parsePrice turns a decimal price in USD for a number of units into nano-USD
// a unit.
func parsePrice(usd string, units int64) (*big.Rat, error) {
	if !decimal.MatchString(usd) {
		return nil, fmt.Errorf("%q is not a price", usd)
	}
	price, ok := new(big.Rat).SetString(usd)
	if !ok {
		return nil, fmt.Errorf("%q is not a price", usd)
	}
	if price.Cmp(big.NewRat(maxPrice, 1)) > 0 {
		return nil, fmt.Errorf("the price %s is too large", usd)
	}
	return price.Mul(price, big.NewRat(nanoPerUSD, units)), nil
}

// maxPrice is more USD than a million tokens of anything cost.
const maxPrice = 1_000_000

const nanoPerUSD = 1_000_000_000

// at is the price for a prompt of so many tokens, and above which length it
// applies.
func (r rate) at(prompt int64) (price *big.Rat, above int64) {
	price = r.base
	for _, s := range r.steps {
		if prompt > s.above {
			price, above = s.price, s.above
		}
	}
	return price, above
}

// listingIDs are genai-prices' names of the providers that provider.Endpoint
// names otherwise.
var listingIDs = map[string]string{"xai": "x-ai", "moonshot": "moonshotai"}

// providerOf is the inverse of listingIDs.
func providerOf(id string) string {
	for name, other := range listingIDs {
		if other == id {
			return name
		}
	}
	return id
}

// find finds the prices of a model by its name, at a time: those that the user
// set come first.
func (b *Book) find(providerName, name string, at time.Time) (m *model, listing string) {
	providerName = strings.ToLower(providerName)
	name = strings.ToLower(strings.TrimSpace(name))
	for i, o := range b.overrides {
		if (o.provider == "" || o.provider == providerName) && o.model.Match.fits(name) && o.model.History[0].Constraint.holds(at) {
			return &b.overrides[i].model, o.provider
		}
	}
	l := b.listings[cmp.Or(listingIDs[providerName], providerName)]
	if l == nil {
		return nil, ""
	}
	for _, spelling := range spellings(name) {
		if m := l.find(spelling); m != nil {
			return m, providerOf(l.ID)
		}
		for _, other := range l.Fallback {
			if m := b.listings[other].find(spelling); m != nil {
				return m, providerOf(other)
			}
		}
	}
	return nil, ""
}

// find finds the first model whose clause matches.
func (l *listing) find(name string) *model {
	if l == nil {
		return nil
	}
	for i, m := range l.Models {
		if m.Match.fits(name) {
			return &l.Models[i]
		}
	}
	return nil
}

var (
	compactDate = regexp.MustCompile(`-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])`)
	lastDate    = regexp.MustCompile(`-20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$`)
)

// spellings are the names under which a model may be listed, the best first.
// Gateways write dates in another way than the provider; and a snapshot that
// the list does not have costs what the name without its date does, which is
// what the provider itself makes of that name.
func spellings(name string) []string {
	dashed := dashDates(name)
	return []string{name, dashed, lastDate.ReplaceAllString(dashed, "")}
}

// dashDates rewrites dates like -20250807 in a model's name as -2025-08-07.
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

// periodAt is when the model's prices at that time apply: the last listed
// period that holds then, or else the first.
func (m *model) periodAt(at time.Time) period {
	for _, p := range slices.Backward(m.History) {
		if p.Constraint.holds(at) {
			return p
		}
	}
	return m.History[0]
}
