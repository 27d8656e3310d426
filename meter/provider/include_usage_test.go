package provider

import (
	"os"
	"strings"
	"testing"
)

func TestIncludeUsage(t *testing.T) {
	for _, tt := range []struct{ request, want string }{
		{`{"model":"gpt-5","stream":true,"messages":[]}`, `{"stream_options":{"include_usage":true},"model":"gpt-5","stream":true,"messages":[]}`},
		{" {\n \"stream\" : true }\n", " {\"stream_options\":{\"include_usage\":true},\n \"stream\" : true }\n"},
		{`{"model":"gpt-5"}`, ""},
		{`{"stream":false}`, ""},
		{`{"stream":"true"}`, ""},
		{`{"stream":true,"stream_options":{"include_usage":false}}`, ""},
		{`{"stream":true,"stream_options":{}}`, ""},
		{`{"stream":true,"stream_options":null}`, ""},
		{`{"stream":true,"stream\u005foptions":{}}`, ""},
		{`{"stream":true,"messages":[`, ""},
		{`{"messages":[{"stream":true}]}`, ""},
		{`[{"stream":true}]`, ""},
		{`{}`, ""},
		{``, ""},
	} {
		got, ok := IncludeUsage([]byte(tt.request))
		if string(got) != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %s, %v", tt.request, got, ok)
		}
	}
}

func TestWithoutUsage(t *testing.T) {
	for _, tt := range []struct{ data, want string }{ // "" is dropped
		{`{"id":"c","choices":[{"delta":{}}],"usage":null}`, `{"id":"c","choices":[{"delta":{}}]}`},
		{`{"id":"c","choices":[{"delta":{}}],"usage":null,"obfuscation":"x"}`, `{"id":"c","choices":[{"delta":{}}],"obfuscation":"x"}`},
		{`{"usage":null,"choices":[{}]}`, `{"choices":[{}]}`},
		{`{"a":1 , "usage" : null }`, `{"a":1  }`},
		{`{"usage":null}`, `{}`},
		{`{"choices":[{"delta":{"content":"\"usage\":null,"}}],"usage":null}`, `{"choices":[{"delta":{"content":"\"usage\":null,"}}]}`},
		{`{"choices":[],"usage":{"prompt_tokens":1}}`, ""},
		{`{"usage":{"prompt_tokens":1},"choices":[ ]}`, ""},
		{`{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}`, `{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}`},
		{`{"choices":[],"prompt_filter_results":[]}`, `{"choices":[],"prompt_filter_results":[]}`},
		{`{"choices":[{"delta":{"usage":null}}]}`, `{"choices":[{"delta":{"usage":null}}]}`},
		{`{"error":{"message":"m"}}`, `{"error":{"message":"m"}}`},
		{`[DONE]`, `[DONE]`},
		{`{"choices":[],"usage":{"prompt_tokens":1}`, `{"choices":[],"usage":{"prompt_tokens":1}`},
	} {
		got, keep := WithoutUsage([]byte(tt.data))
		if keep != (tt.want != "") || keep && string(got) != tt.want {
			t.Errorf("%s: %s, %v; want %s", tt.data, got, keep, tt.want)
		}
	}
}

func TestHidesUsage(t *testing.T) {
	for _, tt := range []struct {
		host, path string
		want       bool
	}{
		{"api.openai.com", "/v1/chat/completions", true},
		{"api.openai.com", "/v1/completions", true},
		{"api.openai.com", "/v1/responses", false},
		{"api.openai.com", "/v1/embeddings", false},
		{"api.mistral.ai", "/v1/chat/completions", false},
		{"mine.openai.azure.com", "/openai/deployments/d/chat/completions", false},
	} {
		e, ok := Lookup("POST", tt.host, tt.path)
		if !ok || e.HidesUsage() != tt.want {
			t.Errorf("%s%s: %+v", tt.host, tt.path, e)
		}
	}
}

// TestWithoutUsageOfRecordings: of a real stream that named its usage, all that
// is left names none, and the rest of each chunk is there.
func TestWithoutUsageOfRecordings(t *testing.T) {
	dropped, trimmed := 0, 0
	for _, r := range readRecordings(t, os.DirFS("testdata/recordings"), "openai.jsonl") {
		if !r.Stream || !strings.Contains(r.URL, "/chat/completions") {
			continue
		}
		for _, e := range splitEvents(r.ResponseBody) {
			rest, keep := WithoutUsage([]byte(e.data))
			switch {
			case !keep:
				dropped++
			case string(rest) != e.data:
				trimmed++
				if strings.Replace(e.data, `,"usage":null`, "", 1) != string(rest) {
					t.Errorf("%s\nbecame\n%s", e.data, rest)
				}
			}
		}
	}
	if dropped == 0 || trimmed == 0 {
		t.Errorf("%d chunks were dropped, %d trimmed", dropped, trimmed)
	}
}
