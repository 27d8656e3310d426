package provider

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOpenAIRules(t *testing.T) {
	const noUsage = "provider sent no usage (stream_options.include_usage is off)"
	chunk := `{"id":"c1","model":"gpt-5","service_tier":"default","choices":[{"delta":{"content":"x"},"finish_reason":null}],"usage":null}`
	last := `{"id":"c1","model":"gpt-5","choices":[{"delta":{},"finish_reason":"stop"}]}`
	completed := func(kind, status, rest string) string {
		return `{"type":"` + kind + `","response":{"id":"r1","model":"gpt-5","status":"` + status + `",` + rest + `}}`
	}
	tests := []struct {
		name, rule string
		format     Format
		request    string
		response   string
		cut        bool
		want       *Usage
		reason     string
		class      string
	}{
		{
			name:     "cached tokens are inside the prompt",
			rule:     "platform.openai.com/docs/guides/prompt-caching; codeburn#17: cached tokens billed twice",
			format:   FormatOpenAIChat,
			response: `{"usage":{"prompt_tokens":1000,"completion_tokens":50,"total_tokens":1050,"prompt_tokens_details":{"cached_tokens":600}}}`,
			want:     &Usage{Input: 400, CacheRead: 600, Output: 50},
		},
		{
			name:     "cache writes are inside the prompt",
			rule:     "recorded gpt-5.6 responses: input_tokens_details.cache_write_tokens, billed at 1.25x",
			format:   FormatOpenAIResponses,
			response: `{"status":"completed","usage":{"input_tokens":1000,"output_tokens":50,"total_tokens":1050,"input_tokens_details":{"cached_tokens":600,"cache_write_tokens":300}}}`,
			want:     &Usage{Input: 100, CacheRead: 600, CacheWrite5m: 300, Output: 50},
		},
		{
			name:     "a cache larger than the prompt is outside of it",
			rule:     "Azure's Grok and DeepSeek: 32 of 42 recordings",
			format:   FormatOpenAIChat,
			response: `{"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":600}}}`,
			want:     &Usage{Input: 10, CacheRead: 600, Output: 5},
		},
		{
			name:     "cached tokens at the top of the usage",
			rule:     "platform.moonshot.ai/docs/api/chat: cached_tokens beside prompt_tokens",
			format:   FormatOpenAIChat,
			response: `{"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"cached_tokens":4}}`,
			want:     &Usage{Input: 6, CacheRead: 4, Output: 5},
		},
		{
			name:     "a stream's usage in its last choice",
			rule:     "platform.moonshot.ai/docs/api/chat: the usage is in the choice that ends",
			format:   FormatOpenAIChat,
			response: sse(chunk, `{"choices":[{"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":10,"completion_tokens":5,"cached_tokens":4}}]}`, `[DONE]`),
			want:     &Usage{Input: 6, CacheRead: 4, Output: 5},
		},
		{
			name:     "reasoning is inside the output",
			rule:     "OpenAI 70 of 70 recordings; tokscale#1142: billed twice",
			format:   FormatOpenAIChat,
			response: `{"usage":{"prompt_tokens":10,"completion_tokens":50,"total_tokens":60,"completion_tokens_details":{"reasoning_tokens":40}}}`,
			want:     &Usage{Input: 10, Output: 50, Thinking: 40},
		},
		{
			name:     "reasoning outside the output, where the total says so",
			rule:     "xAI chat: 32 of 32 recordings; inspect_ai#5528: 8.7x under",
			format:   FormatOpenAIChat,
			response: `{"usage":{"prompt_tokens":10,"completion_tokens":50,"total_tokens":100,"completion_tokens_details":{"reasoning_tokens":40}}}`,
			want:     &Usage{Input: 10, Output: 90, Thinking: 40},
		},
		{
			name:     "audio has its own buckets",
			rule:     "platform.openai.com/docs/api-reference/chat/object: audio_tokens",
			format:   FormatOpenAIChat,
			response: `{"usage":{"prompt_tokens":100,"completion_tokens":50,"prompt_tokens_details":{"cached_tokens":20,"audio_tokens":70,"cached_tokens_details":{"audio_tokens":15}},"completion_tokens_details":{"audio_tokens":30}}}`,
			want:     &Usage{Input: 80, CacheRead: 20, AudioInput: 55, CachedAudioInput: 15, Output: 50, AudioOutput: 30},
		},
		{
			name:     "embeddings have only a prompt",
			rule:     "platform.openai.com/docs/api-reference/embeddings/create",
			format:   FormatOpenAIChat,
			response: `{"model":"text-embedding-3-small","usage":{"prompt_tokens":4,"total_tokens":4}}`,
			want:     &Usage{Input: 4},
		},
		{
			name:     "the usage chunk has no choices",
			rule:     "platform.openai.com/docs/api-reference/chat/create: stream_options.include_usage",
			format:   FormatOpenAIChat,
			response: sse(chunk, last, `{"id":"c1","model":"gpt-5","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5}}`, `[DONE]`),
			want:     &Usage{Input: 10, Output: 5},
		},
		{
			name:     "the usage chunk has choices",
			rule:     "DeepSeek, Mistral, OpenRouter, Z.ai",
			format:   FormatOpenAIChat,
			response: sse(chunk, `{"id":"c1","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5}}`),
			want:     &Usage{Input: 10, Output: 5},
		},
		{
			name:     "a running count is final at the end only",
			rule:     "Perplexity and xAI name usage on every chunk",
			format:   FormatOpenAIChat,
			response: sse(`{"choices":[{"finish_reason":null}],"usage":{"prompt_tokens":10,"completion_tokens":1}}`, `{"choices":[{"finish_reason":null}],"usage":{"prompt_tokens":10,"completion_tokens":2}}`),
			cut:      true,
			want:     &Usage{Input: 10, Output: 2},
			reason:   "the response broke off before its last count",
		},
		{
			name:     "a stream that names no usage",
			rule:     "98 of 126 recorded streams; LiteLLM#35290: estimates miss 90 % of the output",
			format:   FormatOpenAIChat,
			response: sse(chunk, last, `[DONE]`),
			reason:   noUsage,
		},
		{
			name:     "a stream that names no usage though it was asked to",
			rule:     "blaming include_usage would mislead",
			format:   FormatOpenAIChat,
			request:  `{"stream":true,"stream_options":{"include_usage":true}}`,
			response: sse(chunk, last, `[DONE]`),
			reason:   "the provider sent no usage",
		},
		{
			name:     "a chat stream that breaks off",
			rule:     "nothing is known of its cost",
			format:   FormatOpenAIChat,
			response: sse(chunk),
			cut:      true,
			reason:   "the response broke off before its usage",
		},
		{
			name:     "an error inside a chat stream",
			rule:     "platform.openai.com/docs/guides/error-codes",
			format:   FormatOpenAIChat,
			response: sse(chunk, `{"error":{"message":"m","type":"server_error","code":null}}`),
			reason:   "the provider answered with an error",
			class:    "server_error",
		},
		{
			name:     "response.completed",
			rule:     "platform.openai.com/docs/api-reference/responses-streaming/response/completed",
			format:   FormatOpenAIResponses,
			response: sse(completed("response.created", "in_progress", `"usage":null`), completed("response.completed", "completed", `"usage":{"input_tokens":10,"output_tokens":5}`)),
			want:     &Usage{Input: 10, Output: 5},
		},
		{
			name:     "response.incomplete is billed",
			rule:     "platform.openai.com/docs/api-reference/responses-streaming/response/incomplete",
			format:   FormatOpenAIResponses,
			response: sse(completed("response.incomplete", "incomplete", `"usage":{"input_tokens":10,"output_tokens":5}`)),
			want:     &Usage{Input: 10, Output: 5},
		},
		{
			name:     "response.failed",
			rule:     "platform.openai.com/docs/api-reference/responses-streaming/response/failed",
			format:   FormatOpenAIResponses,
			response: sse(completed("response.failed", "failed", `"error":{"code":"rate_limit_exceeded","message":"m"},"usage":null`)),
			reason:   "the provider answered with an error",
			class:    "rate_limit",
		},
		{
			name:     "response.failed with usage",
			rule:     "what was consumed is named and billed",
			format:   FormatOpenAIResponses,
			response: sse(completed("response.failed", "failed", `"error":{"code":"server_error"},"usage":{"input_tokens":10,"output_tokens":0}`)),
			want:     &Usage{Input: 10},
			class:    "server_error",
		},
		{
			name:     "an error event",
			rule:     "platform.openai.com/docs/api-reference/responses-streaming/error: the code is at the top",
			format:   FormatOpenAIResponses,
			response: sse(completed("response.created", "in_progress", `"usage":null`), `{"type":"error","code":"insufficient_quota","message":"m"}`),
			reason:   "the response was still in_progress: its usage comes with a later one",
			class:    "auth",
		},
		{
			name:     "a background response has its usage later",
			rule:     "platform.openai.com/docs/guides/background",
			format:   FormatOpenAIResponses,
			response: `{"id":"r1","status":"queued","usage":null}`,
			reason:   "the response was still queued: its usage comes with a later one",
		},
		{
			name:     "a stray early event does not undo the end",
			rule:     "the last state is the completed one",
			format:   FormatOpenAIResponses,
			response: sse(completed("response.completed", "completed", `"usage":{"input_tokens":10,"output_tokens":5}`), completed("response.in_progress", "in_progress", `"usage":null`)),
			want:     &Usage{Input: 10, Output: 5},
		},
		{
			name:     "calls that are billed by the call",
			rule:     "platform.openai.com/docs/guides/tools-web-search: search actions incur a tool call cost, open_page and find_in_page do not",
			format:   FormatOpenAIResponses,
			response: `{"output":[{"type":"web_search_call","action":{"type":"search"}},{"type":"web_search_call","action":{"type":"open_page"}},{"type":"file_search_call"},{"type":"image_generation_call"},{"type":"code_interpreter_call"},{"type":"function_call"}],"usage":{"input_tokens":10,"output_tokens":5}}`,
			want:     &Usage{Input: 10, Output: 5, ToolCalls: map[string]int64{"web_search": 1, "file_search": 1, "image_generation": 1}},
		},
		{
			name:     "the provider's own count of searches wins",
			rule:     "recorded responses of 2026: tool_usage.web_search.num_requests",
			format:   FormatOpenAIResponses,
			response: `{"output":[{"type":"web_search_call","action":{"type":"search"}}],"tool_usage":{"web_search":{"num_requests":4}},"usage":{"input_tokens":10,"output_tokens":5}}`,
			want:     &Usage{Input: 10, Output: 5, ToolCalls: map[string]int64{"web_search": 4}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.request == "" {
				tt.request = `{"model":"gpt-5","stream":true}`
			}
			got := exchangeOf(tt.format, tt.request, tt.response, !tt.cut)
			if diff := cmp.Diff(tt.want, got.Usage); diff != "" {
				t.Errorf("%s\nusage (-want +got):\n%s", tt.rule, diff)
			}
			if got.Complete != (tt.reason == "") || got.Reason != tt.reason || got.ErrorClass != tt.class {
				t.Errorf("complete = %v, reason = %q, error = %q; want %q, %q", got.Complete, got.Reason, got.ErrorClass, tt.reason, tt.class)
			}
		})
	}
}

func TestOpenAITier(t *testing.T) {
	for _, tt := range []struct{ request, response, want string }{
		{`{"service_tier":"priority"}`, `"service_tier":"default",`, "default"},
		{`{"service_tier":"flex"}`, ``, "flex"},
		{`{}`, `"service_tier":"priority",`, "priority"},
		{`{}`, ``, ""},
	} {
		for _, f := range []Format{FormatOpenAIChat, FormatOpenAIResponses} {
			got := exchangeOf(f, tt.request, `{`+tt.response+`"usage":{"prompt_tokens":1}}`, true)
			if got.Tier != tt.want {
				t.Errorf("%s: %s answered by %s: tier = %q, want %q", f, tt.request, tt.response, got.Tier, tt.want)
			}
		}
	}
}

func TestNamesAreFitToBeShown(t *testing.T) {
	for _, model := range []string{"\\u001b[2J", strings.Repeat("x", 1000), "a\\nb"} {
		got := exchangeOf(FormatOpenAIChat, `{"model":"`+model+`"}`, `{"model":"`+model+`","usage":{"prompt_tokens":1}}`, true)
		if got.Model != "" {
			t.Errorf("model %.20q was kept as %q", model, got.Model)
		}
	}
}
