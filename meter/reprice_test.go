package meter

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/meter/ledger"
	"github.com/haltonlabs/halton-meter/meter/pricing"
	"github.com/haltonlabs/halton-meter/meter/provider"
)

// TestBill prices stored rows: by their charges, by their columns where an
// older release stored none, at their time and tier, and never twice.
func TestBill(t *testing.T) {
	stored, err := json.Marshal([]provider.Charge{
		{Model: "claude-opus-4-8", Usage: provider.Usage{Output: 1}},
		{Model: "claude-haiku-4-5", Usage: provider.Usage{Output: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 9, 2, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name  string
		row   ledger.Row
		want  int64
		known bool
	}{
		{"two models", ledger.Row{Provider: "anthropic", Model: "claude-opus-4-8", RequestedAt: at, Charges: stored, OutputTokens: new(int64(2))}, 30_000, true},
		{"its tier", ledger.Row{Provider: "anthropic", RequestedAt: at, Charges: stored, Tier: "batch"}, 15_000, true},
		{"columns only", ledger.Row{
			Provider: "anthropic", Model: "claude-opus-4-8", RequestedAt: at,
			InputTokens: new(int64(11)), OutputTokens: new(int64(9)), CacheReadTokens: new(int64(5)),
			CacheWriteTokens: new(int64(7)), CacheWrite1hTokens: new(int64(4)),
		}, 341_250, true},
		{"calls only", ledger.Row{Provider: "anthropic", Model: "claude-opus-4-8", RequestedAt: at, ToolCalls: map[string]int64{"web_search": 1}}, 10_000_000, true},
		{"charges that cannot be read", ledger.Row{Provider: "anthropic", Model: "claude-opus-4-8", RequestedAt: at, Charges: []byte(`[{`), OutputTokens: new(int64(1))}, 25_000, true},
		{"more charges than could be stored", ledger.Row{Provider: "anthropic", Model: "claude-opus-4-8", RequestedAt: at, Charges: []byte(`[]`), OutputTokens: new(int64(1))}, 0, false},
		{"its time", ledger.Row{Provider: "openai", Model: "gpt-5.6-sol", RequestedAt: time.Date(2026, 8, 20, 0, 0, 0, 0, time.UTC), OutputTokens: new(int64(1))}, 30_000, true},
		{"no usage", ledger.Row{Provider: "anthropic", Model: "claude-opus-4-8", RequestedAt: at, CostReason: new("the provider sent no usage")}, 0, false},
		{"billed in another row", ledger.Row{Provider: "anthropic", RequestedAt: at, Charges: stored, CostReason: new(reasonRetrieved)}, 0, false},
		{"an unknown model", ledger.Row{Provider: "anthropic", Model: "claude-9", RequestedAt: at, OutputTokens: new(int64(1))}, 0, false},
		{"hostile counts", ledger.Row{Provider: "anthropic", Model: "claude-opus-4-8", RequestedAt: at, CacheWriteTokens: new(int64(1)), CacheWrite1hTokens: new(int64(9)), InputTokens: new(int64(0))}, 0, false},
	} {
		bill := Bill(pricing.Bundled(), tt.row)
		price, ok := Reprice(pricing.Bundled())(tt.row)
		if bill.Known != tt.known || bill.NanoUSD != tt.want || ok != tt.known || price.NanoUSD != tt.want {
			t.Errorf("%s: %+v, %+v", tt.name, bill, price)
		}
		if !bill.Known && bill.Reason == "" {
			t.Errorf("%s: unknown without a reason", tt.name)
		}
	}
}
