package provider

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestChargesStayApart: each turn has a prompt of its own, which chooses its
// price tier; only their sum is the exchange's usage.
func TestChargesStayApart(t *testing.T) {
	for _, tt := range []struct {
		name, rule string
		format     Format
		response   string
		want       []Charge
	}{
		{
			name: "a compaction turn beside the message", rule: "usage.iterations: the top level excludes compaction; same model, another prompt",
			format: FormatAnthropicMessages,
			response: `{"type":"message","model":"claude-sonnet-4-5","usage":{"input_tokens":150000,"output_tokens":10,"iterations":[
				{"type":"compaction","input_tokens":190000,"output_tokens":500},
				{"type":"message","input_tokens":150000,"output_tokens":10},
				{"type":"advisor_message","model":"claude-opus-4-8","input_tokens":7,"output_tokens":3},
				{"type":"advisor_message","model":"claude-opus-4-8","input_tokens":8,"output_tokens":4}]}}`,
			want: []Charge{
				{Model: "claude-sonnet-4-5", Usage: Usage{Input: 150_000, Output: 10}},
				{Model: "claude-sonnet-4-5", Usage: Usage{Input: 190_000, Output: 500}},
				{Model: "claude-opus-4-8", Usage: Usage{Input: 7, Output: 3}},
				{Model: "claude-opus-4-8", Usage: Usage{Input: 8, Output: 4}},
			},
		},
		{
			name: "two messages on one stream", rule: "each message that the provider began is billed",
			format: FormatAnthropicMessages,
			response: sse(
				`{"type":"message_start","message":{"id":"a","model":"claude-sonnet-4-5","usage":{"input_tokens":150000,"output_tokens":1}}}`,
				`{"type":"message_start","message":{"id":"b","model":"claude-sonnet-4-5","usage":{"input_tokens":150000,"output_tokens":1}}}`,
				`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}`, `{"type":"message_stop"}`),
			want: []Charge{
				{Model: "claude-sonnet-4-5", Usage: Usage{Input: 150_000, Output: 1}},
				{Model: "claude-sonnet-4-5", Usage: Usage{Input: 150_000, Output: 5}},
			},
		},
		{
			name: "a compound system's turns", rule: "console.groq.com/docs/compound: usage_breakdown",
			format:   FormatOpenAIChat,
			response: `{"model":"groq/compound","usage":{"prompt_tokens":30,"completion_tokens":5},"usage_breakdown":{"models":[{"model":"m","usage":{"prompt_tokens":10,"completion_tokens":2}},{"model":"m","usage":{"prompt_tokens":20,"completion_tokens":3}}]}}`,
			want: []Charge{
				{Model: "m", Usage: Usage{Input: 10, Output: 2}},
				{Model: "m", Usage: Usage{Input: 20, Output: 3}},
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := exchangeOf(tt.format, `{}`, tt.response, true)
			if diff := cmp.Diff(tt.want, got.Charges); diff != "" {
				t.Errorf("%s\n(-want +got):\n%s", tt.rule, diff)
			}
		})
	}
}

// TestHostileNumbers: no count, and no number of messages or turns, overflows,
// bills what cannot be true, or is held to be final.
func TestHostileNumbers(t *testing.T) {
	for _, number := range []string{"-1", "9223372036854775807", "9223372036854775808", "1e300", "1e-300", "1.5", "NaN", `"7"`, "true", "[]", "0x10", "1099511627777"} {
		got := exchangeOf(FormatAnthropicMessages, `{}`, sse(
			`{"type":"message_start","message":{"id":"a","model":"m","usage":{"input_tokens":`+number+`,"cache_read_input_tokens":`+number+`,"output_tokens":1}}}`,
			`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":`+number+`}}`, `{"type":"message_stop"}`), true)
		if got.Complete || got.Reason == "" || got.Usage != nil && (got.Usage.Input != 0 || got.Usage.CacheRead != 0 || got.Usage.Output > 1) {
			t.Errorf("%s: complete %v (%s), %+v", number, got.Complete, got.Reason, got.Usage)
		}
	}
	var starts, turns []string
	for i := range 5000 {
		starts = append(starts, fmt.Sprintf(`{"type":"message_start","message":{"id":"%d","model":"m%d","usage":{"input_tokens":1099511627776,"output_tokens":1099511627776}}}`, i, i))
		turns = append(turns, fmt.Sprintf(`{"type":"advisor_message","model":"m%d","input_tokens":1099511627776}`, i))
	}
	for name, response := range map[string]string{
		"messages": sse(starts...),
		"turns":    `{"type":"message","model":"m","usage":{"input_tokens":1,"iterations":[` + strings.Join(turns, ",") + `]}}`,
	} {
		got := exchangeOf(FormatAnthropicMessages, `{}`, response, true)
		if got.Complete || got.Usage == nil || got.Usage.Input < 0 || got.Usage.Input > maxCount*(maxIterations+1) || len(got.Charges) > maxIterations+1 {
			t.Errorf("%s: complete %v, %d charges, %+v", name, got.Complete, len(got.Charges), got.Usage)
		}
	}
}
