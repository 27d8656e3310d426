package provider

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCohere(t *testing.T) {
	const usage = `"usage":{"billed_units":{"input_tokens":11,"output_tokens":3},"tokens":{"input_tokens":506,"output_tokens":4},"cached_tokens":448}`
	for _, tt := range []struct {
		name, rule, response string
		want                 *Usage
		reason, class        string
	}{
		{
			name: "billed units, not tokens", rule: "docs.cohere.com/v2/reference/chat: billed_units is what is charged; recorded: 448 cached of 506 tokens beside 11 billed",
			response: `{"id":"c1","finish_reason":"MAX_TOKENS","message":{"content":[]},` + usage + `}`,
			want:     &Usage{Input: 11, Output: 3},
		},
		{
			name: "a stream", rule: "message-end bears the usage, in delta",
			response: sse(`{"type":"message-start","id":"c1"}`, `{"type":"content-delta"}`, `{"type":"message-end","delta":{"finish_reason":"COMPLETE",`+usage+`}}`),
			want:     &Usage{Input: 11, Output: 3},
		},
		{
			name: "a stream that broke off", rule: "the usage comes last",
			response: sse(`{"type":"message-start","id":"c1"}`, `{"type":"content-delta"}`),
			reason:   "the response broke off before its usage",
		},
		{
			name: "an error at the end of a stream", rule: "finish_reason ERROR",
			response: sse(`{"type":"message-end","delta":{"finish_reason":"ERROR",` + usage + `}}`),
			want:     &Usage{Input: 11, Output: 3}, reason: "the response broke off before its last count", class: "unknown",
		},
		{
			name: "embeddings", rule: "docs.cohere.com/v2/reference/embed: meta.billed_units",
			response: `{"id":"e1","embeddings":{},"meta":{"billed_units":{"input_tokens":12}}}`,
			want:     &Usage{Input: 12},
		},
		{
			name: "rerank", rule: "docs.cohere.com/v2/reference/rerank: billed by the search unit",
			response: `{"id":"r1","results":[],"meta":{"billed_units":{"search_units":2}}}`,
			want:     &Usage{ToolCalls: map[string]int64{"search_unit": 2}},
		},
		{
			name: "version 1", rule: "docs.cohere.com/v1/reference/chat: stream-end",
			response: sse(`{"event_type":"stream-end","response":{"generation_id":"g1","meta":{"billed_units":{"input_tokens":2,"output_tokens":2}}}}`),
			want:     &Usage{Input: 2, Output: 2},
		},
		{
			name: "no usage", rule: "nothing is known then",
			response: `{"id":"c1","message":{}}`, reason: "the provider sent no usage",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := exchangeOf(FormatCohere, `{"model":"command-a-03-2025"}`, tt.response, true)
			if diff := cmp.Diff(tt.want, got.Usage); diff != "" {
				t.Errorf("%s\nusage (-want +got):\n%s", tt.rule, diff)
			}
			if got.Reason != tt.reason || got.ErrorClass != tt.class || got.Model != "command-a-03-2025" {
				t.Errorf("reason = %q, error = %q, model = %q", got.Reason, got.ErrorClass, got.Model)
			}
		})
	}
}
