package provider

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestProvidersRules checks where providers that speak OpenAI's formats, or
// Anthropic's, depart from them.
func TestProvidersRules(t *testing.T) {
	groqTurns := `"usage_breakdown":{"models":[
		{"model":"llama-3.3-70b-versatile","usage":{"prompt_tokens":10,"completion_tokens":4}},
		{"model":"openai/gpt-oss-120b","usage":{"prompt_tokens":20,"completion_tokens":5,"completion_tokens_details":{"reasoning_tokens":3}}},
		{"model":"llama-3.3-70b-versatile","usage":{"prompt_tokens":30,"completion_tokens":6}}]}`
	groqTurns = strings.ReplaceAll(groqTurns, "\n", "")
	tests := []struct {
		name, rule string
		format     Format
		response   string
		cut        bool
		want       *Usage
		charges    map[string]Usage // nil: all at one model
		reason     string
		class      string
	}{
		{
			name:     "Groq's usage twice on one chunk",
			rule:     "recorded: x_groq.usage and usage on the finish chunk; count once",
			format:   FormatOpenAIChat,
			response: sse(`{"choices":[{"finish_reason":"stop"}],"x_groq":{"id":"req_1","usage":{"prompt_tokens":10,"completion_tokens":5}},"usage":{"prompt_tokens":10,"completion_tokens":5}}`, `[DONE]`),
			want:     &Usage{Input: 10, Output: 5},
		},
		{
			name:     "Groq's usage that nobody asked for",
			rule:     "console.groq.com/docs/api-reference: x_groq.usage without stream_options.include_usage",
			format:   FormatOpenAIChat,
			response: sse(`{"choices":[{"finish_reason":"stop"}],"x_groq":{"usage":{"prompt_tokens":10,"completion_tokens":5}}}`, `[DONE]`),
			want:     &Usage{Input: 10, Output: 5},
		},
		{
			name:     "Groq's compound systems are billed by the models that they call",
			rule:     "console.groq.com/docs/compound: usage_breakdown; built-in tools are billed by the call",
			format:   FormatOpenAIChat,
			response: `{"model":"groq/compound","choices":[{"message":{"executed_tools":[{"type":"search"},{"type":"visit"},{"type":"search"}]}}],"usage":{"prompt_tokens":60,"completion_tokens":15},` + groqTurns + `}`,
			want:     &Usage{Input: 60, Output: 15, Thinking: 3, ToolCalls: map[string]int64{"web_search": 2, "visit": 1}},
			charges: map[string]Usage{
				"llama-3.3-70b-versatile": {Input: 40, Output: 10, ToolCalls: map[string]int64{"web_search": 2, "visit": 1}},
				"openai/gpt-oss-120b":     {Input: 20, Output: 5, Thinking: 3},
			},
		},
		{
			name:     "a breakdown that is not the whole does not count",
			rule:     "recorded stream: four turns, each with the whole usage",
			format:   FormatOpenAIChat,
			response: sse(`{"model":"groq/compound","choices":[{"finish_reason":"stop"}],"x_groq":{"usage":{"prompt_tokens":30,"completion_tokens":6},`+groqTurns+`}}`, `[DONE]`),
			want:     &Usage{Input: 30, Output: 6},
			charges:  map[string]Usage{"groq/compound": {Input: 30, Output: 6}},
		},
		{
			name:     "an error event of Groq",
			rule:     "recorded: event: error, code tool_use_failed, type invalid_request_error",
			format:   FormatOpenAIChat,
			response: sse(`{"choices":[{"delta":{}}]}`, `{"error":{"message":"m","type":"invalid_request_error","code":"tool_use_failed","status_code":400}}`),
			reason:   "the provider answered with an error",
			class:    "bad_request",
		},
		{
			name:     "Mistral's older name of cached tokens",
			rule:     "recorded: num_cached_tokens 69 of prompt_tokens 70",
			format:   FormatOpenAIChat,
			response: `{"usage":{"completion_tokens":12,"num_cached_tokens":69,"prompt_tokens":70,"total_tokens":82}}`,
			want:     &Usage{Input: 1, CacheRead: 69, Output: 12},
		},
		{
			name:     "cached tokens under two names are the same tokens",
			rule:     "recorded at DeepSeek: prompt_cache_hit_tokens + prompt_cache_miss_tokens == prompt_tokens",
			format:   FormatOpenAIChat,
			response: `{"usage":{"prompt_tokens":563,"completion_tokens":116,"prompt_cache_hit_tokens":512,"prompt_cache_miss_tokens":51,"prompt_tokens_details":{"cached_tokens":512},"num_cached_tokens":512}}`,
			want:     &Usage{Input: 51, CacheRead: 512, Output: 116},
		},
		{
			name:     "DeepSeek's hits alone",
			rule:     "api-docs.deepseek.com/guides/kv_cache",
			format:   FormatOpenAIChat,
			response: `{"usage":{"prompt_tokens":563,"completion_tokens":116,"prompt_cache_hit_tokens":512,"prompt_cache_miss_tokens":51}}`,
			want:     &Usage{Input: 51, CacheRead: 512, Output: 116},
		},
		{
			name:     "an empty count of one name does not hide the other",
			rule:     "null is no answer",
			format:   FormatOpenAIChat,
			response: `{"usage":{"prompt_tokens":10,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":null},"num_cached_tokens":4}}`,
			want:     &Usage{Input: 6, CacheRead: 4, Output: 1},
		},
		{
			name:     "an error beside OpenRouter's last usage",
			rule:     "recorded: error 400 'Token limit reached' on the usage chunk, then [DONE]; what was used is billed",
			format:   FormatOpenAIChat,
			response: sse(`{"choices":[{"finish_reason":"length"}]}`, `{"error":{"code":400,"message":"m"},"choices":[{"finish_reason":null}],"usage":{"prompt_tokens":43,"completion_tokens":10}}`, `[DONE]`),
			want:     &Usage{Input: 43, Output: 10},
			class:    "bad_request",
		},
		{
			name:     "an error after a running count",
			rule:     "the last count never came",
			format:   FormatOpenAIChat,
			response: sse(`{"choices":[{"finish_reason":null}],"usage":{"prompt_tokens":43,"completion_tokens":10}}`, `{"error":{"code":503,"message":"m"}}`, `[DONE]`),
			want:     &Usage{Input: 43, Output: 10},
			reason:   "the stream failed before its last count",
			class:    "server_error",
		},
		{
			name:     "more reasoning than output is marked",
			rule:     "recorded at OpenRouter: 11 of 10 (and 18 times at Vercel's gateway): self-contradictory",
			format:   FormatOpenAIChat,
			response: `{"usage":{"prompt_tokens":43,"completion_tokens":10,"total_tokens":53,"completion_tokens_details":{"reasoning_tokens":11}}}`,
			want:     &Usage{Input: 43, Output: 10, Thinking: 10},
			reason:   "the usage names more reasoning than output",
		},
		{
			name:     "OpenRouter's searches",
			rule:     "recorded: server_tool_use_details.web_search_requests",
			format:   FormatOpenAIChat,
			response: `{"usage":{"prompt_tokens":10,"completion_tokens":1,"server_tool_use_details":{"web_search_requests":1,"tool_calls_executed":1}}}`,
			want:     &Usage{Input: 10, Output: 1, ToolCalls: map[string]int64{"web_search": 1}},
		},
		{
			name:     "xAI's calls are counted in the usage, not in the output",
			rule:     "docs.x.ai/developers/pricing: server_side_tool_usage counts what is billed",
			format:   FormatOpenAIResponses,
			response: `{"status":"completed","output":[{"type":"web_search_call"},{"type":"web_search_call"}],"usage":{"input_tokens":10,"output_tokens":5,"server_side_tool_usage_details":{"web_search_calls":1,"x_search_calls":2,"code_interpreter_calls":0}}}`,
			want:     &Usage{Input: 10, Output: 5, ToolCalls: map[string]int64{"web_search": 1, "x_search": 2}},
		},
		{
			name:     "xAI's responses count reasoning inside",
			rule:     "54 of 54 recordings",
			format:   FormatOpenAIResponses,
			response: `{"status":"completed","usage":{"input_tokens":10,"output_tokens":50,"total_tokens":60,"output_tokens_details":{"reasoning_tokens":40}}}`,
			want:     &Usage{Input: 10, Output: 50, Thinking: 40},
		},
		{
			name:     "xAI's live search is billed by the source",
			rule:     "docs.x.ai/docs/guides/live-search: num_sources_used",
			format:   FormatOpenAIChat,
			response: `{"usage":{"prompt_tokens":10,"completion_tokens":1,"num_sources_used":5}}`,
			want:     &Usage{Input: 10, Output: 1, ToolCalls: map[string]int64{"live_search_source": 5}},
		},
		{
			name:     "Gemini behind OpenAI's format hides reasoning in the total",
			rule:     "2 of 2 recordings: 35 + 12 of 109",
			format:   FormatGeminiChat,
			response: `{"usage":{"completion_tokens":12,"prompt_tokens":35,"total_tokens":109}}`,
			want:     &Usage{Input: 35, Output: 74, Thinking: 62},
		},
		{
			name:     "elsewhere the total hides nothing",
			rule:     "a provider may count what it does not bill",
			format:   FormatOpenAIChat,
			response: `{"usage":{"completion_tokens":12,"prompt_tokens":35,"total_tokens":109}}`,
			want:     &Usage{Input: 35, Output: 12},
		},
		{
			name:     "Gemini's chat where it names the reasoning",
			rule:     "reasoning counted once",
			format:   FormatGeminiChat,
			response: `{"usage":{"completion_tokens":12,"prompt_tokens":35,"total_tokens":109,"completion_tokens_details":{"reasoning_tokens":62}}}`,
			want:     &Usage{Input: 35, Output: 74, Thinking: 62},
		},
		{
			name:     "images",
			rule:     "platform.openai.com/docs/api-reference/images/object: usage",
			format:   FormatOpenAIChat,
			response: `{"created":1,"data":[{"b64_json":"x"}],"usage":{"total_tokens":100,"input_tokens":50,"output_tokens":50,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}}`,
			want:     &Usage{Input: 50, ImageInput: 40, Output: 50, ImageOutput: 50, ByModality: true},
		},
		{
			name:     "images with words, of cached images",
			rule:     "platform.openai.com/docs/api-reference/images/object: output_tokens_details",
			format:   FormatOpenAIChat,
			response: `{"usage":{"input_tokens":50,"output_tokens":50,"input_tokens_details":{"text_tokens":10,"image_tokens":40,"cached_tokens":20,"cached_tokens_details":{"image_tokens":15,"text_tokens":5}},"output_tokens_details":{"image_tokens":45,"text_tokens":5}}}`,
			want:     &Usage{Input: 30, ImageInput: 25, CacheRead: 20, CachedImageInput: 15, Output: 50, ImageOutput: 45, ByModality: true},
		},
		{
			name:     "cached images that are not told apart",
			rule:     "a zero is no knowledge then",
			format:   FormatOpenAIChat,
			response: `{"usage":{"input_tokens":50,"output_tokens":5,"input_tokens_details":{"image_tokens":40,"cached_tokens":20},"output_tokens_details":{}}}`,
			want:     &Usage{Input: 30, ImageInput: 30, CacheRead: 20, Output: 5},
		},
		{
			name:     "a streamed image",
			rule:     "platform.openai.com/docs/api-reference/images-streaming: image_generation.completed",
			format:   FormatOpenAIChat,
			response: sse(`{"type":"image_generation.partial_image"}`, `{"type":"image_generation.completed","usage":{"input_tokens":50,"output_tokens":50}}`),
			want:     &Usage{Input: 50, Output: 50},
		},
		{
			name:     "a transcription that counts tokens",
			rule:     "platform.openai.com/docs/api-reference/audio/json-object: type tokens, input_token_details",
			format:   FormatOpenAIChat,
			response: `{"text":"x","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":0,"audio_tokens":14},"output_tokens":45,"total_tokens":59}}`,
			want:     &Usage{Input: 14, AudioInput: 14, Output: 45},
		},
		{
			name:     "a transcription that counts seconds",
			rule:     "platform.openai.com/docs/api-reference/audio/json-object: type duration",
			format:   FormatOpenAIChat,
			response: `{"text":"x","usage":{"type":"duration","seconds":9}}`,
			reason:   "the provider counts seconds of audio, not tokens",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := exchangeOf(tt.format, `{"model":"asked","stream":true}`, tt.response, !tt.cut)
			if diff := cmp.Diff(tt.want, got.Usage); diff != "" {
				t.Errorf("%s\nusage (-want +got):\n%s", tt.rule, diff)
			}
			if got.Complete != (tt.reason == "") || got.Reason != tt.reason || got.ErrorClass != tt.class {
				t.Errorf("complete = %v, reason = %q, error = %q; want %q, %q", got.Complete, got.Reason, got.ErrorClass, tt.reason, tt.class)
			}
			if tt.charges == nil {
				return
			}
			charges := map[string]Usage{}
			for _, c := range got.Charges {
				u := charges[c.Model]
				u.add(c.Usage)
				charges[c.Model] = u
			}
			if diff := cmp.Diff(tt.charges, charges); diff != "" {
				t.Errorf("%s\ncharges (-want +got):\n%s", tt.rule, diff)
			}
		})
	}
}

func TestReportedCost(t *testing.T) {
	for _, tt := range []struct {
		name, usage string
		want        *ReportedCost
	}{
		{"OpenRouter", `"cost":0.00085`, &ReportedCost{NanoUSD: 850_000, Text: "0.00085"}},
		{"nothing to pay", `"cost":0`, &ReportedCost{Text: "0"}},
		{"an exponent", `"cost":1.4e-05`, &ReportedCost{NanoUSD: 14_000, Text: "1.4e-05"}},
		{"a float's noise is kept", `"cost":0.0076509169000000005`, &ReportedCost{NanoUSD: 7_650_917, Text: "0.0076509169000000005"}},
		{"halves go up", `"cost":0.0000000005`, &ReportedCost{NanoUSD: 1, Text: "0.0000000005"}},
		{"less than a half goes down", `"cost":0.00000000049`, &ReportedCost{Text: "0.00000000049"}},
		{"not with the user's own key", `"cost":0.0001,"is_byok":false,"cost_details":{"upstream_inference_cost":0.5}`, &ReportedCost{NanoUSD: 100_000, Text: "0.0001"}},
		{"the user's own key is billed upstream too", `"cost":0.0001,"is_byok":true,"cost_details":{"upstream_inference_cost":0.0003253}`, &ReportedCost{NanoUSD: 425_300, Text: "0.0001"}},
		{"upstream unknown", `"cost":0.0001,"is_byok":true,"cost_details":{"upstream_inference_cost":null}`, nil},
		{"Perplexity", `"cost":{"input_tokens_cost":0.001,"request_cost":0.005,"total_cost":0.006}`, &ReportedCost{NanoUSD: 6_000_000, Text: "0.006"}},
		{"xAI: a dollar has 1e10 ticks", `"cost_in_usd_ticks":37756001`, &ReportedCost{NanoUSD: 3_775_600, Text: "37756001", Ticks: true}},
		{"ticks' halves go up", `"cost_in_usd_ticks":5`, &ReportedCost{NanoUSD: 1, Text: "5", Ticks: true}},
		{"none", `"prompt_tokens":1`, nil},
		{"null", `"cost":null`, nil},
		{"a text", `"cost":"0.1"`, nil},
		{"negative", `"cost":-0.1`, nil},
		{"too large to be true", `"cost":1000001`, nil},
		{"ticks too large to be true", `"cost_in_usd_ticks":10000000000000001`, nil},
		{"a hostile exponent", `"cost":1e999999999`, nil},
		{"a hostile small one", `"cost":1e-999999999`, nil},
		{"too many digits", `"cost":0.` + strings.Repeat("1", 100), nil},
	} {
		for _, f := range []Format{FormatOpenAIChat, FormatOpenAIResponses, FormatAnthropicMessages} {
			got := exchangeOf(f, `{}`, `{"model":"m","usage":{"input_tokens":1,`+tt.usage+`}}`, true)
			if diff := cmp.Diff(tt.want, got.ReportedCost); diff != "" {
				t.Errorf("%s, %s: (-want +got):\n%s", tt.name, f, diff)
			}
			if got.Usage == nil || !got.Complete {
				t.Errorf("%s, %s: a cost must not spoil the counts: %+v", tt.name, f, got)
			}
		}
	}
}

// TestResultIsOwned checks that results share nothing with the parser.
func TestResultIsOwned(t *testing.T) {
	for f, response := range map[Format]string{
		FormatOpenAIChat:      `{"usage":{"prompt_tokens":1,"num_sources_used":2}}`,
		FormatOpenAIResponses: `{"output":[{"type":"web_search_call"}],"usage":{"input_tokens":1,"num_sources_used":2}}`,
	} {
		p := Endpoint{Format: f}.NewParser()
		p.Body(200, []byte(response))
		first := p.Result(true)
		want := first.Usage.ToolCalls["live_search_source"]
		first.Charges[0].Usage.ToolCalls["live_search_source"] = 99
		if got := p.Result(true).Usage.ToolCalls["live_search_source"]; want != 2 || got != want {
			t.Errorf("%s: %d calls, then %d; want 2", f, want, got)
		}
	}
}
