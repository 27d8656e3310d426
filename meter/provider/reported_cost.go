package provider

import (
	"math/big"
	"strconv"
	"strings"
)

// ReportedCost is what the provider itself says an exchange cost. It is the
// bill's own number: a computed cost that differs from it is wrong.
type ReportedCost struct {
	// NanoUSD is the cost in 1e-9 US dollars, rounded to the nearest, halves
	// up. It includes what the model's own provider charged beside it, where
	// the exchange was served with the user's key there.
	NanoUSD int64
	// Text is the cost as the provider wrote it: a decimal number of US
	// dollars, or of Ticks.
	Text string
	// Ticks reports whether Text counts ticks, of which a dollar has 1e10.
	Ticks bool
}

// maxReportedUSD is more than any exchange can cost.
const maxReportedUSD = 1_000_000

// costParts are the members of a usage object that tell a cost.
type costParts struct {
	cost, upstream, ticks []byte
	ownKey                bool
}

// readMember takes one member of a usage object:
//
//	cost               OpenRouter, Vercel's AI gateway: US dollars
//	cost.total_cost    Perplexity: US dollars
//	cost_in_usd_ticks  xAI: 1e-10 US dollars
//
// See https://openrouter.ai/docs/use-cases/usage-accounting,
// https://docs.perplexity.ai/api-reference and
// https://docs.x.ai/developers/cost-tracking.
func (c *costParts) readMember(key, value []byte) {
	switch string(key) {
	case "cost":
		c.cost = value
		if total := member(value, "total_cost"); total != nil {
			c.cost = total
		}
	case "cost_in_usd_ticks":
		c.ticks = value
	case "is_byok":
		c.ownKey = isTrue(value)
	case "cost_details":
		c.upstream = member(value, "upstream_inference_cost")
	}
}

// total is the cost that the parts tell, nil if they tell none that can be
// true. With the user's own key ("bring your own key") OpenRouter charges its
// fee alone, and the model's provider charges the upstream cost.
func (c *costParts) total() *ReportedCost {
	text, perUSD := c.cost, int64(1)
	if c.ticks != nil {
		text, perUSD = c.ticks, 1e10
	}
	sum, ok := decimal(text)
	if !ok {
		return nil
	}
	if c.ownKey {
		upstream, ok := decimal(c.upstream)
		if !ok {
			return nil
		}
		sum.Add(sum, upstream)
	}
	if sum.Cmp(big.NewRat(maxReportedUSD, 1).Mul(big.NewRat(maxReportedUSD, 1), big.NewRat(perUSD, 1))) > 0 {
		return nil
	}
	nano := sum.Mul(sum, big.NewRat(1e9, perUSD))
	// floor(nano + 1/2) in integers.
	num := new(big.Int).Lsh(nano.Num(), 1)
	num.Add(num, nano.Denom())
	num.Div(num, new(big.Int).Lsh(nano.Denom(), 1))
	return &ReportedCost{NanoUSD: num.Int64(), Text: string(text), Ticks: c.ticks != nil}
}

// decimal reads a JSON number that is not negative. The bounds keep a hostile
// exponent from filling the memory with zeros.
func decimal(value []byte) (*big.Rat, bool) {
	if len(value) == 0 || len(value) > 64 || value[0] < '0' || value[0] > '9' {
		return nil, false
	}
	if e := strings.IndexAny(string(value), "eE"); e >= 0 {
		exponent, err := strconv.Atoi(string(value[e+1:]))
		if err != nil || exponent < -40 || exponent > 40 {
			return nil, false
		}
	}
	for _, c := range value {
		if !strings.ContainsRune("0123456789.eE+-", rune(c)) {
			return nil, false
		}
	}
	return new(big.Rat).SetString(string(value))
}
