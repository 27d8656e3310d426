package provider

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAnthropicBatch: a batch's results are one exchange, billed as a batch,
// with each request's price tier.
func TestAnthropicBatch(t *testing.T) {
	line := func(id, model, usage string) string {
		return `{"custom_id":"c","result":{"type":"succeeded","message":{"id":"` + id + `","type":"message","model":"` + model +
			`","content":[],"usage":{` + usage + `,"service_tier":"batch"}}}}`
	}
	lines := []string{
		line("msg_1", "claude-sonnet-4-5", `"input_tokens":150000,"output_tokens":10`),
		`{"custom_id":"d","result":{"type":"errored","error":{"type":"error","error":{"type":"invalid_request_error"}}}}`,
		`{"custom_id":"e","result":{"type":"expired"}}`,
		line("msg_2", "claude-sonnet-4-5", `"input_tokens":250000,"output_tokens":20`),
		line("msg_3", "claude-sonnet-4-5", `"input_tokens":150000,"output_tokens":30,"cache_creation_input_tokens":5,"cache_creation":{"ephemeral_1h_input_tokens":5}`),
		line("msg_4", "claude-opus-5-5", `"input_tokens":1,"output_tokens":1`),
	}
	want := []Charge{
		{Model: "claude-sonnet-4-5", Usage: Usage{Input: 300_000, Output: 40, CacheWrite1h: 5}, Longest: 150_005},
		{Model: "claude-sonnet-4-5", Usage: Usage{Input: 250_000, Output: 20}, Longest: 250_000},
		{Model: "claude-opus-5-5", Usage: Usage{Input: 1, Output: 1}, Longest: 1},
	}
	check := func(t *testing.T, got Result, complete bool) {
		t.Helper()
		if diff := cmp.Diff(want, got.Charges); diff != "" {
			t.Errorf("charges (-want +got):\n%s", diff)
		}
		if got.Complete != complete || got.Tier != "batch" || got.Mode != ModeBatch || got.ResponseID != "msg_1" || got.Model != "claude-sonnet-4-5" {
			t.Errorf("got %+v", got)
		}
	}
	events := Endpoint{Format: FormatAnthropicBatch}.NewParser()
	for _, l := range lines {
		events.Event("", []byte(l))
	}
	check(t, events.Result(true), true)
	check(t, events.Result(false), false)
	whole := Endpoint{Format: FormatAnthropicBatch}.NewParser()
	whole.Body(200, []byte(strings.Join(lines, "\n")+"\n"))
	check(t, whole.Result(true), true)
	cut := Endpoint{Format: FormatAnthropicBatch}.NewParser()
	cut.Body(200, []byte(strings.Join(lines, "\n")+"\n{\"custom_id\":"))
	check(t, cut.Result(true), false)

	failed := Endpoint{Format: FormatAnthropicBatch}.NewParser()
	failed.Body(404, []byte(`{"type":"error","error":{"type":"not_found_error"}}`))
	if got := failed.Result(true); got.Usage != nil || got.ErrorCode != "not_found_error" || got.Reason == "" {
		t.Errorf("an error: %+v", got)
	}
	empty := Endpoint{Format: FormatAnthropicBatch}.NewParser()
	if got := empty.Result(true); got.Usage != nil || got.Complete || got.Reason == "" {
		t.Errorf("nothing: %+v", got)
	}
}
