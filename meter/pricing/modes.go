package pricing

import (
	"fmt"
	"math/big"
	"strings"
)

// list is the factor of the list's prices.
var list = big.NewRat(1, 1)

// halved are the tiers at which every price of tokens is half the list's:
//   - https://platform.claude.com/docs/en/build-with-claude/batch-processing
//   - https://developers.openai.com/api/docs/guides/batch
//   - https://developers.openai.com/api/docs/guides/flex-processing, "priced at
//     Batch API rates"
//   - https://ai.google.dev/gemini-api/docs/optimization, "50% discount"
var halved = map[string]bool{"anthropic batch": true, "openai batch": true, "openai flex": true, "google flex": true}

// fastFactors are those of Anthropic's fast mode, a multiplier for each model on
// every price of tokens. See
// https://platform.claude.com/docs/en/build-with-claude/fast-mode and, for the
// models of 2026-07 and later, https://models.dev.
var fastFactors = map[string]int64{
	"claude-opus-4-6": 6,
	"claude-opus-4-7": 6,
	"claude-opus-4-8": 2,
	"claude-opus-5":   2,
	"claude-opus-5-5": 2,
}

// tierFactor is what a service tier multiplies the prices of tokens by. The
// tiers named last may be joined by "+"; see provider.Result.
func tierFactor(providerName, modelID, tier string) (*big.Rat, error) {
	factor := new(big.Rat).Set(list)
	discounted := false
	for part := range strings.SplitSeq(strings.ToLower(tier), "+") {
		switch part {
		case "", "default", "standard", "standard_only", "auto", "on_demand":
			continue
		case "provisioned":
			// OpenRouter's own capacity at Google: its reported costs are those
			// of its list in every recording.
			if providerName == "openrouter" {
				continue
			}
		case "fast":
			if n := fastFactors[modelID]; providerName == "anthropic" && n > 0 {
				factor.Mul(factor, big.NewRat(n, 1))
				continue
			}
		case "batch", "flex":
			if halved[providerName+" "+part] && !discounted {
				discounted = true
				factor.Mul(factor, big.NewRat(1, 2))
				continue
			}
		case "us":
			// "US-only inference" costs 1.1 times the list's prices of tokens,
			// and models older than it refuse the request. See
			// https://platform.claude.com/docs/en/manage-claude/data-residency.
			if providerName == "anthropic" {
				factor.Mul(factor, big.NewRat(11, 10))
				continue
			}
		}
		return nil, fmt.Errorf("the price book does not know the prices of the service tier %q", part)
	}
	return factor, nil
}
