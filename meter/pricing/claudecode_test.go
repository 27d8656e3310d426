package pricing_test

import (
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/pricing"
	"github.com/haltonlabs/halton-meter/meter/provider"
)

// TestClaudeCode compares, from the bytes on, with the total_cost_usd that
// Claude Code 2.1 prints ("claude -p … --output-format json") for what a
// provider answers. What it gets wrong is listed with what is right: the
// package's doc says why.
func TestClaudeCode(t *testing.T) {
	start := func(usage string) string {
		return `{"type":"message_start","message":{"id":"msg_1","model":"MODEL","usage":{` + usage + `}}}`
	}
	delta := func(usage string) string {
		return `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{` + usage + `}}`
	}
	const mixed = `"input_tokens":11,"cache_creation_input_tokens":7,"cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":4},"cache_read_input_tokens":5,"output_tokens":1`
	for _, tt := range []struct {
		name, model string
		events      []string
		// claudeCode is its sum in nano-USD, right ours where it differs.
		claudeCode, right int64
	}{
		{"all buckets", "claude-opus-4-8", []string{start(mixed), delta(`"output_tokens":9`)}, 341_250, 0},
		{"all buckets of another model", "claude-opus-5-5", []string{start(mixed), delta(`"output_tokens":9`)}, 272_000, 0},
		{"three web searches", "claude-opus-4-8", []string{start(mixed), delta(`"output_tokens":9,"server_tool_use":{"web_search_requests":3}`)}, 30_341_250, 0},
		{"the delta's input is another", "claude-opus-4-8", []string{start(`"input_tokens":100,"output_tokens":1`), delta(`"input_tokens":160,"output_tokens":10`)}, 1_050_000, 0},
		{"the delta repeats the cache writes without their split", "claude-opus-4-8", []string{start(mixed), delta(`"input_tokens":11,"cache_creation_input_tokens":7,"cache_read_input_tokens":5,"output_tokens":9`)}, 341_250, 0},
		{"fast", "claude-opus-4-8", []string{start(mixed + `,"speed":"fast"`), delta(`"output_tokens":9`)}, 682_500, 0},

		{"a long prompt of Sonnet 4.5", "claude-sonnet-4-5", []string{start(`"input_tokens":250000,"output_tokens":1`), delta(`"output_tokens":1000`)}, 765_000_000, 1_522_500_000},
		{"a long prompt that is cached", "claude-sonnet-4-5", []string{start(`"input_tokens":2000,"cache_read_input_tokens":199000,"output_tokens":1`), delta(`"output_tokens":100`)}, 67_200_000, 133_650_000},
		{"a batch", "claude-opus-4-8", []string{start(mixed + `,"service_tier":"batch"`), delta(`"output_tokens":9`)}, 341_250, 170_625},
		{"two cumulative deltas", "claude-opus-4-8", []string{start(`"input_tokens":100,"output_tokens":1`), delta(`"output_tokens":10`), delta(`"output_tokens":25`)}, 750_000, 1_125_000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := provider.Endpoint{Provider: "anthropic", Format: provider.FormatAnthropicMessages}.NewParser()
			p.Request([]byte(`{"model":"` + tt.model + `","stream":true}`))
			for _, e := range append(tt.events, `{"type":"message_stop"}`) {
				p.Event("", []byte(strings.ReplaceAll(e, "MODEL", tt.model)))
			}
			result := p.Result(true)
			want := tt.right
			if want == 0 {
				want = tt.claudeCode
			}
			got := pricing.Bundled().Cost("anthropic", result.Charges, result.Tier, november)
			if !got.Known || got.NanoUSD != want || !result.Complete {
				t.Errorf("%+v, want %d (Claude Code: %d)", got, want, tt.claudeCode)
			}
		})
	}
}
