package provider

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGeminiRules(t *testing.T) {
	const first = `{"candidates":[{"content":{}}],"usageMetadata":{"promptTokenCount":10,"totalTokenCount":10},"modelVersion":"gemini-3-flash","responseId":"r1"}`
	const last = `{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"thoughtsTokenCount":7,"totalTokenCount":22},"modelVersion":"gemini-3-flash"}`
	answer := Usage{Input: 10, Output: 12, Thinking: 7}
	grounded := func(model string) string {
		return `{"candidates":[{"groundingMetadata":{"webSearchQueries":["a","","b","a"]}}],"modelVersion":"` + model + `","usageMetadata":{"promptTokenCount":1}}`
	}
	searches := func(n int64) *Usage { return &Usage{Input: 1, ToolCalls: map[string]int64{"web_search": n}} }
	tests := []struct {
		name, rule string
		response   string
		cut        bool
		want       *Usage
		reason     string
		class      string
	}{
		{
			name:     "thoughts are beside the candidates",
			rule:     "418 of 418 recordings; sub2api#554, vercel/ai#6082: 5 to 25 times under",
			response: last,
			want:     &answer,
		},
		{
			name:     "counting tokens is free",
			rule:     "ai.google.dev/api/tokens: no charge; the row says that nothing was used",
			response: `{"totalTokens":31,"promptTokensDetails":[{"modality":"TEXT","tokenCount":31}]}`,
			want:     &Usage{ByModality: true},
		},
		{
			name:     "embeddings of Vertex AI's predict",
			rule:     "cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api: statistics.token_count of each",
			response: `{"predictions":[{"embeddings":{"values":[0.5],"statistics":{"truncated":false,"token_count":6}}},{"embeddings":{"statistics":{"token_count":4}}}]}`,
			want:     &Usage{Input: 10, ByModality: true},
		},
		{
			name:     "the cache is inside the prompt",
			rule:     "ai.google.dev/api/generate-content: promptTokenCount includes the cached content",
			response: `{"usageMetadata":{"promptTokenCount":3520,"cachedContentTokenCount":3512,"candidatesTokenCount":2,"thoughtsTokenCount":42,"totalTokenCount":3564}}`,
			want:     &Usage{Input: 8, CacheRead: 3512, Output: 44, Thinking: 42},
		},
		{
			name:     "what a tool reads is beside the prompt",
			rule:     "recorded: 32 + 4610 + 25 + 37 of 4704",
			response: `{"usageMetadata":{"promptTokenCount":32,"toolUsePromptTokenCount":4610,"candidatesTokenCount":25,"thoughtsTokenCount":37,"totalTokenCount":4704}}`,
			want:     &Usage{Input: 4642, Output: 62, Thinking: 37},
		},
		{
			name:     "no candidates",
			rule:     "27 recordings have no candidatesTokenCount, 14 no totalTokenCount",
			response: `{"usageMetadata":{"promptTokenCount":15,"thoughtsTokenCount":2}}`,
			want:     &Usage{Input: 15, Output: 2, Thinking: 2},
		},
		{
			name:     "audio has its own buckets",
			rule:     "ai.google.dev/api/generate-content#ModalityTokenCount",
			response: `{"usageMetadata":{"promptTokenCount":100,"cachedContentTokenCount":30,"candidatesTokenCount":9,"promptTokensDetails":[{"modality":"TEXT","tokenCount":60},{"modality":"AUDIO","tokenCount":40}],"cacheTokensDetails":[{"modality":"AUDIO","tokenCount":25}],"candidatesTokensDetails":[{"modality":"AUDIO","tokenCount":4}]}}`,
			want:     &Usage{Input: 70, CacheRead: 30, AudioInput: 15, CachedAudioInput: 25, Output: 9, AudioOutput: 4, ByModality: true},
		},
		{
			name:     "embeddings have only a prompt",
			rule:     "recorded: batchEmbedContents of gemini-embedding-2, promptTokenDetails",
			response: `{"embeddings":[{"values":[0.1]}],"usageMetadata":{"promptTokenCount":7,"promptTokenDetails":[{"modality":"TEXT","tokenCount":7}]}}`,
			want:     &Usage{Input: 7, ByModality: true},
		},
		{
			name:     "images and video have their own buckets",
			rule:     "ai.google.dev/gemini-api/docs/pricing: image output; a document is read as images",
			response: `{"usageMetadata":{"promptTokenCount":100,"cachedContentTokenCount":30,"candidatesTokenCount":1295,"promptTokensDetails":[{"modality":"TEXT","tokenCount":10},{"modality":"IMAGE","tokenCount":40},{"modality":"DOCUMENT","tokenCount":20},{"modality":"VIDEO","tokenCount":30}],"cacheTokensDetails":[{"modality":"IMAGE","tokenCount":30}],"candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":1290}]}}`,
			want:     &Usage{Input: 70, ImageInput: 30, VideoInput: 30, CacheRead: 30, CachedImageInput: 30, Output: 1295, ImageOutput: 1290, ByModality: true},
		},
		{
			name:     "an answer of which nobody says what it is",
			rule:     "an image is priced apart; a zero is no knowledge here",
			response: `{"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":9,"promptTokensDetails":[{"modality":"TEXT","tokenCount":1}]}}`,
			want:     &Usage{Input: 1, Output: 9},
		},
		{
			name:     "the last chunk's usage counts",
			rule:     "42 of 57 recorded streams name it in several chunks, cumulatively",
			response: sse(first, last),
			want:     &answer,
		},
		{
			name:     "a finish reason is not the end",
			rule:     "recorded: STOP on a first chunk whose prompt count then changed",
			response: sse(strings.Replace(first, `"content":{}`, `"finishReason":"STOP"`, 1)),
			cut:      true,
			want:     &Usage{Input: 10},
			reason:   "the response broke off before its last count",
		},
		{
			name:     "a streamed array",
			rule:     "ai.google.dev/api/generate-content: streamGenerateContent without alt=sse",
			response: "[" + first + "\n,\r\n" + last + "\n]",
			want:     &answer,
		},
		{
			name:     "a streamed array that broke off",
			rule:     "what came is billed",
			response: "[" + first + "\n,\r\n" + last[:40],
			cut:      true,
			want:     &Usage{Input: 10},
			reason:   "the response broke off before its last count",
		},
		{
			name:     "Code Assist's envelope",
			rule:     "github.com/google-gemini/gemini-cli, code_assist/converter.ts: response, traceId",
			response: sse(`{"response":`+first+`,"traceId":"t"}`, `{"response":`+last+`,"traceId":"t","remainingCredits":[]}`),
			want:     &answer,
		},
		{
			name:     "searches are billed by the prompt up to Gemini 2.5",
			rule:     "ai.google.dev/gemini-api/docs/google-search",
			response: grounded("gemini-2.5-flash"),
			want:     searches(1),
		},
		{
			name:     "searches are billed by the query since Gemini 3",
			rule:     "ai.google.dev/gemini-api/docs/google-search: unique ones, and empty ones are ignored",
			response: grounded("gemini-3-flash-preview"),
			want:     searches(2),
		},
		{
			name:     "a prompt that was blocked",
			rule:     "ai.google.dev/api/generate-content#PromptFeedback: it is counted all the same",
			response: `{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":14,"totalTokenCount":14}}`,
			want:     &Usage{Input: 14},
		},
		{
			name:     "an error in mid-stream",
			rule:     "google.aip.dev/193",
			response: sse(first, `{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}`),
			want:     &Usage{Input: 10},
			reason:   "the stream failed before its last count",
			class:    "server_error",
		},
		{
			name:     "an error in an array",
			rule:     "google.aip.dev/193; streamGenerateContent without alt=sse",
			response: `[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}]`,
			reason:   "the provider answered with an error",
			class:    "rate_limit",
		},
		{
			name:     "no usage",
			rule:     "gemini-embedding-001 names none",
			response: `{"embedding":{"values":[0.1]}}`,
			reason:   "the provider sent no usage",
		},
		{
			name:     "a body that broke off",
			rule:     "nothing is known of its cost",
			response: last[:60],
			cut:      true,
			reason:   "the response broke off before its usage",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := exchangeOf(FormatGemini, `{"contents":[]}`, tt.response, !tt.cut)
			if diff := cmp.Diff(tt.want, got.Usage); diff != "" {
				t.Errorf("%s\nusage (-want +got):\n%s", tt.rule, diff)
			}
			if got.Complete != (tt.reason == "") || got.Reason != tt.reason || got.ErrorClass != tt.class {
				t.Errorf("complete = %v, reason = %q, error = %q; want %q, %q", got.Complete, got.Reason, got.ErrorClass, tt.reason, tt.class)
			}
		})
	}
}

func TestGeminiTier(t *testing.T) {
	for _, tt := range []struct{ request, usage, want string }{
		{`{"serviceTier":"flex"}`, `"serviceTier":"standard",`, "standard"},
		{`{"service_tier":"flex"}`, ``, "flex"},
		{`{}`, `"serviceTier":"PRIORITY",`, "priority"},
		{`{}`, `"trafficType":"ON_DEMAND",`, "on_demand"},
		{`{}`, `"trafficType":"ON_DEMAND_FLEX",`, "flex"},
		{`{}`, `"trafficType":"PROVISIONED_THROUGHPUT",`, "provisioned_throughput"},
		{`{}`, ``, ""},
	} {
		got := exchangeOf(FormatGemini, tt.request, `{"usageMetadata":{`+tt.usage+`"promptTokenCount":1}}`, true)
		if got.Tier != tt.want {
			t.Errorf("%s answered by %s: tier = %q, want %q", tt.request, tt.usage, got.Tier, tt.want)
		}
	}
}

// TestPathNames checks that what the path says counts where the body is
// silent, and nowhere else.
func TestPathNames(t *testing.T) {
	e, _ := Lookup("POST", "generativelanguage.googleapis.com", "/v1beta/models/gemini-flash-latest:streamGenerateContent")
	p := e.NewParser()
	p.Request([]byte(`{"contents":[]}`))
	if got := p.Result(false); got.Model != "gemini-flash-latest" || got.RequestedModel != "gemini-flash-latest" || !got.Stream {
		t.Errorf("before a response: %+v", got)
	}
	p.Event("", []byte(`{"modelVersion":"gemini-3-flash","usageMetadata":{"promptTokenCount":1}}`))
	if got := p.Result(true); got.Model != "gemini-3-flash" || got.RequestedModel != "gemini-flash-latest" || got.Charges[0].Model != "gemini-3-flash" {
		t.Errorf("served another model: %+v", got)
	}
	for _, e := range []Endpoint{
		{Format: FormatGemini, Model: "m"}, {Format: FormatAnthropicMessages, Model: "m"}, {Format: FormatOpenAIChat, Model: "m"},
	} {
		p := e.NewParser()
		p.Request([]byte(`{"model":"asked","stream":true}`))
		if got := p.Result(false); got.Model != "asked" || !got.Stream {
			t.Errorf("%s: the body names a model: %+v", e.Format, got)
		}
	}
}
