package provider

import (
	"encoding/json"
	"strings"
	"testing"
)

// The fuzz targets feed a request and a response, cut anywhere, as a stream
// and as a body, and check what must hold whatever the bytes are.

func FuzzAnthropicMessages(f *testing.F) {
	f.Add(aRequest, sse(aStart, `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":25,"iterations":[{"type":"advisor_message","model":"m","input_tokens":1}]}}`, aStop), true)
	f.Add(`{"model":"m`, `{"usage":{"input_tokens":-1,"output_tokens":1e400}}`, false)
	fuzzFormat(f, FormatAnthropicMessages)
}

func FuzzOpenAIChat(f *testing.F) {
	f.Add(`{"model":"gpt-5","stream_options":{"include_usage":true}}`, sse(`{"choices":[],"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":10,"audio_tokens":3}}}`, `[DONE]`), true)
	f.Add(`{}`, `{"usage":[{"prompt_tokens":9}],"error":{"code":5}}`, false)
	fuzzFormat(f, FormatOpenAIChat)
}

func FuzzOpenAIResponses(f *testing.F) {
	f.Add(`{"model":"gpt-5"}`, sse(`{"type":"response.completed","response":{"output":[{"type":"web_search_call"}],"usage":{"input_tokens":9,"output_tokens":3}}}`), true)
	f.Add(`{"\u006dodel":"gpt-5"}`, `{"status":"failed","tool_usage":{"web_search":{"num_requests":"x"}}}`, false)
	fuzzFormat(f, FormatOpenAIResponses)
}

func FuzzGemini(f *testing.F) {
	f.Add(`{"contents":[]}`, sse(`{"usageMetadata":{"promptTokenCount":9,"cachedContentTokenCount":10,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":99}]}}`, `{"error":{"code":503,"status":"UNAVAILABLE"}}`), true)
	f.Add(`{}`, `[{"response":{"response":{"usageMetadata":{"thoughtsTokenCount":1e12}}}},`, false)
	fuzzFormat(f, FormatGemini)
}

func FuzzBedrock(f *testing.F) {
	f.Add(`{"serviceTier":{"type":"flex"}}`, `{"usage":{"inputTokens":9,"cacheWriteInputTokens":1,"cacheDetails":[{"ttl":"1h","inputTokens":5}]},"prompt_token_count":3}`, true)
	f.Add(`--x`, "event: chunk\ndata: {\"bytes\":\"eyJwcm9tcHRfdG9rZW5fY291bnQiOjF9\"}\n\nevent: metadata\ndata: {\"usage\":{\"inputTokens\":1}}\n\nevent: xException\ndata: {}\n\n", false)
	fuzzFormat(f, FormatBedrockConverse, FormatBedrockInvoke)
}

func FuzzOllama(f *testing.F) {
	f.Add(`{"model":"m","think":null}`, sse(`{"done":true,"eval_count":3,"error":"x"}`), true)
	f.Add(`{}`, `{"prompt_eval_count":-1}`, false)
	fuzzFormat(f, FormatOllama)
}

func FuzzCohere(f *testing.F) {
	f.Add(`{"model":"command"}`, sse(`{"type":"message-end","delta":{"usage":{"billed_units":{"input_tokens":1,"image_tokens":2,"search_units":3}}}}`), true)
	f.Add(`{}`, `{"meta":{"billed_units":{"output_tokens":-1}},"error":{}}`, false)
	fuzzFormat(f, FormatCohere)
}

func FuzzAnthropicBatch(f *testing.F) {
	f.Add(``, sse(`{"result":{"message":{"id":"a","model":"m","usage":{"input_tokens":300000,"service_tier":"batch"}}}}`, `{"result":{"message":{"model":"m","usage":{"input_tokens":1}}}}`), true)
	f.Add(``, "{\"result\":{\"message\":{\"usage\":{\"output_tokens\":1e99}}}}\n{\"result\":", false)
	fuzzFormat(f, FormatAnthropicBatch)
}

// FuzzIncludeUsage checks that a valid request, or chunk, stays one, and that
// nothing is asked for twice.
func FuzzIncludeUsage(f *testing.F) {
	f.Add(`{"stream":true}`)
	f.Add(`{"choices":[{}],"usage":null,"x":[]}`)
	f.Add("{\"usage\" :null\n,\"usage\": null}")
	f.Fuzz(func(t *testing.T, text string) {
		if asking, ok := IncludeUsage([]byte(text)); ok {
			if json.Valid([]byte(text)) && !json.Valid(asking) {
				t.Errorf("%s became %s", text, asking)
			}
			if _, again := IncludeUsage(asking); again {
				t.Errorf("%s is asked for twice", asking)
			}
		}
		if rest, keep := WithoutUsage([]byte(text)); keep && json.Valid([]byte(text)) && !json.Valid(rest) {
			t.Errorf("%s became %s", text, rest)
		}
	})
}

// FuzzLookup checks that a path's names are fit to be shown, whatever it is.
func FuzzLookup(f *testing.F) {
	f.Add("generativelanguage.googleapis.com", "/v1beta/models/gemini-2.5-pro:generateContent")
	f.Add("bedrock-runtime.us-east-1.amazonaws.com", "/model/%1b/../a%2Fb/invoke")
	f.Add("x.openai.azure.com", "//openai/deployments/%zz/chat/completions?x")
	f.Fuzz(func(t *testing.T, host, urlPath string) {
		e, ok := Lookup("POST", host, urlPath)
		if ok != (e.Format != "") || !printable(e.Model) {
			t.Errorf("%+v, %v", e, ok)
		}
		if ok {
			checkResult(t, e.NewParser().Result(true))
		}
	})
}

func fuzzFormat(f *testing.F, formats ...Format) {
	f.Fuzz(func(t *testing.T, request, response string, eof bool) {
		for _, format := range formats {
			p := Endpoint{Format: format}.NewParser()
			p.Request([]byte(request))
			for _, e := range splitEvents(response) {
				p.Event(e.name, []byte(e.data))
				checkResult(t, p.Result(false))
			}
			checkResult(t, p.Result(eof))

			p = Endpoint{Format: format}.NewParser()
			p.Request([]byte(request))
			p.Body(200, []byte(response))
			checkResult(t, p.Result(eof))
		}
	})
}

func checkResult(t *testing.T, r Result) {
	t.Helper()
	if r.Complete == (r.Reason != "") {
		t.Errorf("complete = %v with reason %q", r.Complete, r.Reason)
	}
	if r.Complete && r.Usage == nil || (r.Usage == nil) != (len(r.Charges) == 0) {
		t.Errorf("complete = %v, usage = %v, charges = %v", r.Complete, r.Usage, r.Charges)
	}
	if len(r.RawUsage) > 0 && !json.Valid(r.RawUsage) {
		t.Errorf("raw usage is not JSON: %q", r.RawUsage)
	}
	for _, s := range []string{r.Model, r.RequestedModel, r.Tier, r.ResponseID, r.ErrorCode} {
		if strings.ContainsAny(s, "\x00\x1b\n\r") {
			t.Errorf("a control character in %q", s)
		}
	}
	if c := r.ReportedCost; c != nil && (c.NanoUSD < 0 || c.NanoUSD > maxReportedUSD*1e9*2) {
		t.Errorf("a cost of %+v", c)
	}
	if r.Usage == nil {
		return
	}
	for _, c := range r.Charges {
		u := c.Usage
		for _, n := range []int64{u.Input, u.CacheRead, u.CacheWrite5m, u.CacheWrite1h, u.Output, u.Thinking, u.AudioInput, u.CachedAudioInput, u.AudioOutput, u.ImageInput, u.CachedImageInput, u.ImageOutput, u.VideoInput, u.VideoOutput} {
			// Each of the messages and turns adds at most maxCount.
			if n < 0 || n > 1<<62 {
				t.Errorf("a count of %d", n)
			}
		}
		if u.Thinking > u.Output || u.AudioInput+u.ImageInput+u.VideoInput > u.Input ||
			u.AudioOutput+u.ImageOutput+u.VideoOutput > u.Output || u.CachedAudioInput+u.CachedImageInput > u.CacheRead {
			t.Errorf("a part exceeds its whole: %+v", u)
		}
	}
}
