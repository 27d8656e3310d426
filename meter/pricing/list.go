package pricing

import (
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"
)

// Entry is a model, or a family of them, with its prices: what the book says
// of it in words.
type Entry struct {
	// Provider sells it; "" is an override for all providers.
	Provider string
	// Name is the entry's name, Match the names of models that it means.
	Name, Match string
	// Source is the Cost.Source of its prices.
	Source string
	// Periods are its prices by time, the oldest first. Of those that hold at
	// a time, the last one counts; if none does, the first one.
	Periods []Period
	model   *model
}

// At returns the entry's prices at that time.
func (e Entry) At(t time.Time) Period { return e.model.periodAt(t).show() }

// Period is prices and when they apply.
type Period struct {
	// Since is the day from which they apply; zero is always.
	Since time.Time
	// When says it in words; "" is always.
	When  string
	Rates []Rate
}

// Rate is the price of one thing.
type Rate struct {
	// Name is that of PriceNames, or of calls ("web_search"), or else the key
	// that genai-prices has for what no usage tells.
	Name string
	// USD is the price of Per units, an exact decimal.
	USD string
	Per int64
	// Above is the prompt's length above which it applies; 0 is the base.
	Above int64
}

// Source names the bundled prices: "bundled-2026-09-23".
func (b *Book) Source() string { return b.source }

// Entries lists the book: the overrides first, then the providers by name.
func (b *Book) Entries() []Entry {
	var all []Entry
	for i := range b.overrides {
		o := &b.overrides[i]
		all = append(all, o.model.entry(o.provider, sourceOverride))
	}
	for _, id := range slices.Sorted(maps.Keys(b.listings)) {
		models := b.listings[id].Models
		for i := range models {
			all = append(all, models[i].entry(providerOf(id), b.source))
		}
	}
	return all
}

// Find returns the entry that prices a provider's model at that time. Its
// Provider is another one where the model is sold at that one's prices.
func (b *Book) Find(providerName, model string, at time.Time) (Entry, bool) {
	m, listed := b.find(providerName, model, at)
	switch {
	case m == nil:
		return Entry{}, false
	case m.override:
		return m.entry(listed, sourceOverride), true
	}
	return m.entry(listed, b.source), true
}

// Providers are the names of the providers in the book, sorted.
func (b *Book) Providers() []string {
	var names []string
	for id := range b.listings {
		names = append(names, providerOf(id))
	}
	slices.Sort(names)
	return names
}

func (m *model) entry(providerName, source string) Entry {
	e := Entry{Provider: providerName, Name: m.ID, Match: m.Match.text, Source: source, model: m}
	for _, p := range m.History {
		e.Periods = append(e.Periods, p.show())
	}
	return e
}

func (p period) show() Period {
	out := Period{When: p.Constraint.String(), Rates: p.Prices.list()}
	if p.Constraint != nil {
		out.Since = p.Constraint.from
	}
	return out
}

// list is the rates in the order in which people think of them.
func (r rates) list() []Rate {
	var all []Rate
	add := func(name, key string) {
		price, ok := r[key]
		if !ok {
			return
		}
		one := func(p *big.Rat, above int64) {
			all = append(all, Rate{Name: name, USD: usd(p, unitsOf(key)), Per: unitsOf(key), Above: above})
		}
		one(price.base, 0)
		for _, s := range price.steps {
			one(s.price, s.above)
		}
	}
	named := map[string]string{}
	for name, key := range priceKeys {
		named[key] = name
	}
	named["cache_write_5m_mtok"] = "cache_write_5m"
	for name, key := range callPrices {
		named[key] = name
	}
	first := []string{"input_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_5m_mtok", "cache_write_1h_mtok", "output_mtok"}
	keys := slices.Sorted(maps.Keys(r))
	keys = slices.DeleteFunc(keys, func(key string) bool { return slices.Contains(first, key) })
	for _, key := range slices.Concat(first, keys) {
		name := named[key]
		if name == "" {
			name = strings.TrimSuffix(strings.TrimPrefix(key, callPrefix), "_kcount")
		}
		add(name, key)
	}
	return all
}
