package provider

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bedrockEvent is an event as the tap hands it over: "name data".
type bedrockEvent struct{ name, data string }

// chunk is an event of InvokeModelWithResponseStream.
func chunk(data string) bedrockEvent {
	return bedrockEvent{"chunk", fmt.Sprintf(`{"bytes":%q,"p":"abc"}`, base64.StdEncoding.EncodeToString([]byte(data)))}
}

func TestBedrockRules(t *testing.T) {
	const model = "us.anthropic.claude-opus-4-8-v1:0"
	const served = `"model":"claude-opus-4-8"`
	start := chunk(`{"type":"message_start","message":{"id":"m",` + served + `,"usage":{"input_tokens":10,"cache_creation_input_tokens":7,"cache_creation":{"ephemeral_1h_input_tokens":4},"output_tokens":1}}}`)
	delta := chunk(`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":25}}`)
	stop := chunk(`{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":10,"outputTokenCount":25,"invocationLatency":1}}`)
	claude := &Usage{Input: 10, CacheWrite5m: 3, CacheWrite1h: 4, Output: 25}
	tests := []struct {
		name, rule string
		format     Format
		status     int
		header     http.Header
		body       string
		events     []bedrockEvent
		cut        bool
		want       *Usage
		reason     string
		class      string
	}{
		{
			name:   "the cache is beside the input",
			rule:   "22 of 22 recordings: total == input + output + cacheRead + cacheWrite",
			format: FormatBedrockConverse,
			body:   `{"output":{},"usage":{"inputTokens":10,"outputTokens":5,"totalTokens":30,"cacheReadInputTokens":8,"cacheWriteInputTokens":7,"cacheDetails":[{"ttl":"1h","inputTokens":4},{"ttl":"5m","inputTokens":3}]}}`,
			want:   &Usage{Input: 10, Output: 5, CacheRead: 8, CacheWrite5m: 3, CacheWrite1h: 4},
		},
		{
			name:   "the metadata event bears the usage",
			rule:   "docs.aws.amazon.com, ConverseStreamMetadataEvent",
			format: FormatBedrockConverse,
			events: []bedrockEvent{{"messageStart", `{"role":"assistant"}`}, {"messageStop", `{"stopReason":"end_turn"}`}, {"metadata", `{"usage":{"inputTokens":10,"outputTokens":5},"metrics":{"latencyMs":1}}`}},
			want:   &Usage{Input: 10, Output: 5},
		},
		{
			name:   "a stream without its metadata",
			rule:   "nothing is known of its cost",
			format: FormatBedrockConverse,
			events: []bedrockEvent{{"messageStart", `{"role":"assistant"}`}},
			reason: "the response broke off before its usage",
		},
		{
			name:   "an exception in mid-stream",
			rule:   "docs.aws.amazon.com, ConverseStream: throttlingException",
			format: FormatBedrockConverse,
			events: []bedrockEvent{{"messageStart", `{}`}, {"throttlingException", `{"message":"m"}`}},
			reason: "the provider answered with an error",
			class:  "rate_limit",
		},
		{
			name:   "an error",
			rule:   "docs.aws.amazon.com, CommonErrors: the code is in a header",
			format: FormatBedrockConverse,
			status: 403,
			body:   `{"message":"denied"}`,
			reason: "the provider answered with an error",
			class:  "auth",
		},
		{
			name:   "Claude's body",
			rule:   "docs.aws.amazon.com, model-parameters-anthropic-claude-messages",
			format: FormatBedrockInvoke,
			body:   `{` + served + `,"type":"message","usage":{"input_tokens":10,"cache_creation_input_tokens":7,"cache_creation":{"ephemeral_1h_input_tokens":4},"output_tokens":25}}`,
			want:   claude,
		},
		{
			name:   "Claude's stream",
			rule:   "chunks hold the events of Anthropic's stream, in base64",
			format: FormatBedrockInvoke,
			events: []bedrockEvent{start, chunk(`{"type":"ping"}`), delta, stop},
			want:   claude,
		},
		{
			name:   "Claude's stream, cut",
			rule:   "message_start's input is billed",
			format: FormatBedrockInvoke,
			events: []bedrockEvent{start},
			cut:    true,
			want:   &Usage{Input: 10, CacheWrite5m: 3, CacheWrite1h: 4, Output: 1},
			reason: "the response broke off before its last count",
		},
		{
			name:   "an exception in Claude's stream",
			rule:   "docs.aws.amazon.com, InvokeModelWithResponseStream: modelTimeoutException",
			format: FormatBedrockInvoke,
			events: []bedrockEvent{start, {"modelTimeoutException", `{"message":"m"}`}},
			want:   &Usage{Input: 10, CacheWrite5m: 3, CacheWrite1h: 4, Output: 1},
			reason: "the stream failed before its last count",
			class:  "timeout",
		},
		{
			name:   "OpenAI's body",
			rule:   "docs.aws.amazon.com, model-parameters-openai",
			format: FormatBedrockInvoke,
			body:   `{"model":"openai.gpt-oss-120b-1:0","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5}}`,
			want:   &Usage{Input: 10, Output: 5},
		},
		{
			name:   "OpenAI's stream names its usage in the metrics alone",
			rule:   "docs.aws.amazon.com, InvokeModelWithResponseStream: invocation metrics",
			format: FormatBedrockInvoke,
			events: []bedrockEvent{chunk(`{"choices":[{"delta":{}}]}`), chunk(`{"choices":[{"finish_reason":"stop"}],"amazon-bedrock-invocationMetrics":{"inputTokenCount":10,"outputTokenCount":5,"cacheReadInputTokenCount":2}}`)},
			want:   &Usage{Input: 10, Output: 5, CacheRead: 2},
		},
		{
			name:   "Nova's body",
			rule:   "docs.aws.amazon.com/nova: usage",
			format: FormatBedrockInvoke,
			body:   `{"output":{},"usage":{"inputTokens":10,"outputTokens":5,"cacheReadInputTokenCount":3}}`,
			want:   &Usage{Input: 10, Output: 5, CacheRead: 3},
		},
		{
			name:   "Nova's stream",
			rule:   "metadata.usage and the metrics are the same tokens",
			format: FormatBedrockInvoke,
			events: []bedrockEvent{chunk(`{"messageStart":{}}`), chunk(`{"metadata":{"usage":{"inputTokens":10,"outputTokens":5}},"amazon-bedrock-invocationMetrics":{"inputTokenCount":10,"outputTokenCount":5}}`)},
			want:   &Usage{Input: 10, Output: 5},
		},
		{
			name:   "Llama's body",
			rule:   "docs.aws.amazon.com, model-parameters-meta",
			format: FormatBedrockInvoke,
			body:   `{"generation":"x","prompt_token_count":10,"generation_token_count":5}`,
			want:   &Usage{Input: 10, Output: 5},
		},
		{
			name:   "Titan's body",
			rule:   "docs.aws.amazon.com, model-parameters-titan-text",
			format: FormatBedrockInvoke,
			body:   `{"inputTextTokenCount":10,"results":[{"tokenCount":5},{"tokenCount":2}]}`,
			want:   &Usage{Input: 10, Output: 7},
		},
		{
			name:   "a model whose body names no usage",
			rule:   "nor does the header",
			format: FormatBedrockInvoke,
			body:   `{"outputs":[]}`,
			reason: "the provider sent no usage",
		},
		{
			name:   "a model whose header alone names usage, as Cohere's embeddings",
			rule:   "docs.aws.amazon.com, InvokeModel: the header's counts",
			format: FormatBedrockInvoke,
			header: http.Header{"X-Amzn-Bedrock-Input-Token-Count": {"12"}, "X-Other": {"x"}},
			body:   `{"embeddings":[[0.1]],"response_type":"embeddings_floats"}`,
			want:   &Usage{Input: 12},
		},
		{
			name:   "a header beside a body that names usage",
			rule:   "the body tells more",
			format: FormatBedrockInvoke,
			header: http.Header{"X-Amzn-Bedrock-Input-Token-Count": {"garbage"}, "X-Amzn-Bedrock-Output-Token-Count": {"1"}},
			body:   `{"generation":"x","prompt_token_count":10,"generation_token_count":5}`,
			want:   &Usage{Input: 10, Output: 5},
		},
		{
			name:   "a garbled header",
			rule:   "what is no count bills nothing",
			format: FormatBedrockInvoke,
			header: http.Header{"X-Amzn-Bedrock-Input-Token-Count": {"garbage"}},
			body:   `{}`,
			want:   &Usage{},
			reason: "X-Amzn-Bedrock-Input-Token-Count is not a plausible count",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := Endpoint{Format: tt.format, Model: model}.NewParser()
			p.Request([]byte(`{"anthropic_version":"bedrock-2023-05-31"}`))
			for _, e := range tt.events {
				p.Event(e.name, []byte(e.data))
			}
			if tt.body != "" {
				p.Body(max(tt.status, 200), []byte(tt.body))
			}
			if kept := UsageHeader(tt.header); kept != nil {
				p.(HeaderParser).Header(kept)
			}
			got := p.Result(!tt.cut)
			if diff := cmp.Diff(tt.want, got.Usage); diff != "" {
				t.Errorf("%s\nusage (-want +got):\n%s", tt.rule, diff)
			}
			if got.Complete != (tt.reason == "") || got.Reason != tt.reason || got.ErrorClass != tt.class {
				t.Errorf("complete = %v, reason = %q, error = %q; want %q, %q", got.Complete, got.Reason, got.ErrorClass, tt.reason, tt.class)
			}
			if got.Model != model || len(got.Charges) > 0 && got.Charges[0].Model != model {
				t.Errorf("model = %q, charges = %+v; the path's is billed", got.Model, got.Charges)
			}
		})
	}
}

func TestBedrockTier(t *testing.T) {
	for _, tt := range []struct{ request, response, want string }{
		{`{}`, ``, ""},
		{`{"serviceTier":{"type":"flex"}}`, ``, "flex"},
		{`{"serviceTier":{"type":"flex"}}`, `"serviceTier":{"type":"default"},`, "default"},
		{`{"performanceConfig":{"latency":"optimized"}}`, ``, "optimized"},
		{`{}`, `"serviceTier":{"type":"priority"},"performanceConfig":{"latency":"optimized"},`, "priority+optimized"},
		{`{"performanceConfig":{"latency":"optimized"}}`, `"performanceConfig":{"latency":"standard"},`, ""},
	} {
		got := exchangeOf(FormatBedrockConverse, tt.request, `{`+tt.response+`"usage":{"inputTokens":1}}`, true)
		if got.Tier != tt.want {
			t.Errorf("%s answered by %s: tier = %q, want %q", tt.request, tt.response, got.Tier, tt.want)
		}
	}
}

func TestOllamaRules(t *testing.T) {
	const last = `{"model":"llama3.2:1b","message":{"content":"secret"},"done":true,"prompt_eval_count":26,"eval_count":298}`
	for _, tt := range []struct {
		name     string
		lines    []string
		body     string
		want     *Usage
		complete bool
		class    string
	}{
		{"a body", nil, last, &Usage{Input: 26, Output: 298}, true, ""},
		{"lines, counted on the last", []string{`{"model":"llama3.2:1b","done":false}`, last}, "", &Usage{Input: 26, Output: 298}, true, ""},
		{"a cached prompt is not counted", []string{`{"done":true,"eval_count":298}`}, "", &Usage{Output: 298}, true, ""},
		{"lines that broke off", []string{`{"model":"llama3.2:1b","done":false}`}, "", nil, false, ""},
		{"embeddings", nil, `{"model":"all-minilm","embeddings":[[0.1]],"prompt_eval_count":8}`, &Usage{Input: 8}, true, ""},
		{"an error", nil, `{"error":"model 'x' not found"}`, nil, false, "unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Endpoint{Format: FormatOllama}.NewParser()
			p.Request([]byte(`{"model":"asked","think":"high"}`))
			for _, line := range tt.lines {
				p.Event("", []byte(line))
			}
			if tt.body != "" {
				p.Body(200, []byte(tt.body))
			}
			got := p.Result(true)
			if diff := cmp.Diff(tt.want, got.Usage); diff != "" {
				t.Errorf("usage (-want +got):\n%s", diff)
			}
			if got.Complete != tt.complete || got.ErrorClass != tt.class || got.Mode != ModeThinking || !got.Stream {
				t.Errorf("%+v", got)
			}
			if want := `{"prompt_eval_count":26,"eval_count":298}`; tt.want != nil && tt.want.Input == 26 && string(got.RawUsage) != want {
				t.Errorf("raw usage = %s, want the counts alone", got.RawUsage)
			}
		})
	}
}
