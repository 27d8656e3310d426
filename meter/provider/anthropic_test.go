package provider

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// exchangeOf plays a request and a response: one body if it has no "event:",
// else a stream.
func exchangeOf(f Format, request, response string, eof bool) Result {
	p := Endpoint{Format: f}.NewParser()
	p.Request([]byte(request))
	if strings.Contains(response, "data:") {
		for _, e := range splitEvents(response) {
			p.Event(e.name, []byte(e.data))
		}
	} else if response != "" {
		p.Body(200, []byte(response))
	}
	return p.Result(eof)
}

// sse writes events with the name that their type says.
func sse(data ...string) string {
	var b strings.Builder
	for _, d := range data {
		if name := text(member([]byte(d), "type")); name != "" {
			b.WriteString("event: " + name + "\n")
		}
		b.WriteString("data: " + d + "\n\n")
	}
	return b.String()
}

const (
	aRequest = `{"model":"claude-opus-4-8","stream":true}`
	aStart   = `{"type":"message_start","message":{"id":"msg_1","model":"claude-opus-4-8","usage":{"input_tokens":100,"cache_creation_input_tokens":7,"cache_read_input_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":4},"output_tokens":1,"service_tier":"standard"}}}`
	aStop    = `{"type":"message_stop"}`
)

func TestAnthropicRules(t *testing.T) {
	start := Usage{Input: 100, CacheRead: 5, CacheWrite5m: 3, CacheWrite1h: 4, Output: 1}
	with := func(change func(u *Usage)) Usage {
		u := start
		change(&u)
		return u
	}
	tests := []struct {
		name string
		// rule is where the rule is stated or was learned.
		rule     string
		response string
		want     Usage
		charges  map[string]Usage // nil: all at claude-opus-4-8
		reason   string           // why it is incomplete, "" if it is complete
	}{
		{
			name:     "buckets are disjoint already",
			rule:     "platform.claude.com/docs/en/build-with-claude/prompt-caching: total input = cache_read + cache_creation + input_tokens",
			response: `{"model":"claude-opus-4-8","usage":{"input_tokens":11,"cache_creation_input_tokens":7,"cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":4},"cache_read_input_tokens":5,"output_tokens":9}}`,
			want:     Usage{Input: 11, CacheRead: 5, CacheWrite5m: 3, CacheWrite1h: 4, Output: 9},
		},
		{
			name:     "deltas are cumulative and the last one wins",
			rule:     "platform.claude.com/docs/en/build-with-claude/streaming: the token counts in message_delta are cumulative; claude-code 2.1.214 changelog: double-counting fixed",
			response: sse(aStart, `{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":10}}`, `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":25}}`, aStop),
			want:     with(func(u *Usage) { u.Output = 25 }),
		},
		{
			name:     "the data say what an event is where its name does not",
			rule:     "html.spec.whatwg.org/multipage/server-sent-events.html: an event without a name is a message",
			response: "event: message\ndata: " + aStart + "\n\nevent: message\ndata: " + `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":25}}` + "\n\ndata: " + aStop + "\n\n",
			want:     with(func(u *Usage) { u.Output = 25 }),
		},
		{
			name:     "a delta without input keeps the start's",
			rule:     "older recorded streams name only output_tokens in the delta",
			response: sse(aStart, `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":null,"output_tokens":25}}`, aStop),
			want:     with(func(u *Usage) { u.Output = 25 }),
		},
		{
			name:     "a delta's input replaces the start's",
			rule:     "recorded streams with server tools: input 2694 at the start, 11665 in the delta",
			response: sse(aStart, `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":160,"output_tokens":25}}`, aStop),
			want:     with(func(u *Usage) { u.Input, u.Output = 160, 25 }),
		},
		{
			name:     "the start's lifetimes survive a delta that repeats the total",
			rule:     "no recorded message_delta bears the 5m/1h split; ccusage#899: 1h writes at the 5m price",
			response: sse(aStart, `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":100,"cache_creation_input_tokens":7,"cache_read_input_tokens":5,"output_tokens":25}}`, aStop),
			want:     with(func(u *Usage) { u.Output = 25 }),
		},
		{
			name:     "growth of the cache writes has the default lifetime",
			rule:     "platform.claude.com/docs/en/build-with-claude/prompt-caching: the default lifetime is 5 minutes",
			response: sse(aStart, `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"cache_creation_input_tokens":27,"output_tokens":25}}`, aStop),
			want:     with(func(u *Usage) { u.CacheWrite5m, u.Output = 23, 25 }),
		},
		{
			name:     "old answers without lifetimes wrote for 5 minutes",
			rule:     "the 1h lifetime is newer than the split",
			response: `{"model":"claude-opus-4-8","usage":{"input_tokens":11,"cache_creation_input_tokens":7,"output_tokens":9}}`,
			want:     Usage{Input: 11, CacheWrite5m: 7, Output: 9},
		},
		{
			name:     "compaction is not in the top level",
			rule:     "platform.claude.com/docs/en/build-with-claude/compaction: sum all iterations; vercel/ai convert-anthropic-usage fixture",
			response: `{"model":"claude-opus-4-8","usage":{"input_tokens":612,"output_tokens":2819,"iterations":[{"type":"compaction","input_tokens":60385,"output_tokens":522},{"type":"message","input_tokens":612,"output_tokens":2819}]}}`,
			want:     Usage{Input: 60997, Output: 3341},
		},
		{
			name:     "the advisor is billed at its own model and is not in the top level",
			rule:     "pydantic-ai#5065; recording test_anthropic_advisor_tool",
			response: `{"model":"claude-opus-4-8","usage":{"input_tokens":2390,"output_tokens":121,"iterations":[{"type":"message","input_tokens":1128,"output_tokens":110},{"type":"advisor_message","model":"claude-opus-5","input_tokens":2518,"output_tokens":22,"cache_read_input_tokens":9},{"type":"message","input_tokens":1262,"output_tokens":11}]}}`,
			want:     Usage{Input: 4908, CacheRead: 9, Output: 143},
			charges: map[string]Usage{
				"claude-opus-4-8": {Input: 2390, Output: 121},
				"claude-opus-5":   {Input: 2518, CacheRead: 9, Output: 22},
			},
		},
		{
			name:     "a fallback's usage is the top level",
			rule:     "pydantic-ai#5065: with fallback_message the top level is the served answer",
			response: `{"model":"claude-fable-5","usage":{"input_tokens":412,"output_tokens":60,"iterations":[{"type":"message","input_tokens":400,"output_tokens":2},{"type":"fallback_message","model":"claude-opus-4-8","input_tokens":412,"output_tokens":60}]}}`,
			want:     Usage{Input: 412, Output: 60},
		},
		{
			name:     "iterations tell the lifetimes that a delta leaves out",
			rule:     "recorded message_deltas: iterations[].cache_creation is there, the top level's is not",
			response: sse(`{"type":"message_start","message":{"id":"msg_1","model":"claude-opus-4-8","usage":{"input_tokens":10,"output_tokens":1}}}`, `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"cache_creation_input_tokens":9,"output_tokens":25,"iterations":[{"type":"message","input_tokens":10,"output_tokens":25,"cache_creation_input_tokens":9,"cache_creation":{"ephemeral_5m_input_tokens":2,"ephemeral_1h_input_tokens":7}}]}}`, aStop),
			want:     Usage{Input: 10, CacheWrite5m: 2, CacheWrite1h: 7, Output: 25},
		},
		{
			name:     "web searches are charged by the call, thinking is inside the output",
			rule:     "platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool: usage.server_tool_use.web_search_requests",
			response: `{"model":"claude-opus-4-8","usage":{"input_tokens":11,"output_tokens":90,"output_tokens_details":{"thinking_tokens":80},"server_tool_use":{"web_search_requests":3,"web_fetch_requests":2}}}`,
			want:     Usage{Input: 11, Output: 90, Thinking: 80, ToolCalls: map[string]int64{"web_search": 3}},
		},
		{
			name:     "a duplicated start is the same message",
			rule:     "ccusage#1762: repeated usage summed, $30.58 became $60.87",
			response: sse(aStart, aStart, `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":25}}`, aStop),
			want:     with(func(u *Usage) { u.Output = 25 }),
		},
		{
			name:     "a spliced stream is two messages, the first of them cut",
			rule:     "each message that the provider began is billed",
			response: sse(aStart, strings.ReplaceAll(aStart, "msg_1", "msg_2"), `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":25}}`, aStop),
			want:     Usage{Input: 200, CacheRead: 10, CacheWrite5m: 6, CacheWrite1h: 8, Output: 26},
			reason:   "the response broke off before its last count",
		},
		{
			name:     "a truncated stream keeps the input that was billed",
			rule:     "the prompt is billed once the stream has begun",
			response: sse(aStart),
			want:     start,
			reason:   "the response broke off before its last count",
		},
		{
			name:     "an error in mid-stream",
			rule:     "platform.claude.com/docs/en/build-with-claude/streaming#error-events",
			response: sse(aStart, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`),
			want:     start,
			reason:   "the stream failed before its last count",
		},
		{
			name:     "a stream whose start was lost",
			rule:     "a delta alone lacks the split of cache writes",
			response: sse(`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":5,"output_tokens":25}}`, aStop),
			want:     Usage{Input: 5, Output: 25},
			reason:   "the start of the stream is missing",
		},
		{
			name:     "a count that is none",
			rule:     "a wrong count must not be billed, nor pass for right",
			response: `{"model":"claude-opus-4-8","usage":{"input_tokens":-4,"cache_read_input_tokens":99999999999999999999,"output_tokens":9}}`,
			want:     Usage{Output: 9},
			reason:   "input_tokens is not a plausible count",
		},
		{
			name:     "a count in another notation",
			rule:     "RFC 8259 section 6 has one kind of number",
			response: `{"model":"claude-opus-4-8","usage":{"input_tokens":1.2e1,"output_tokens":9.0}}`,
			want:     Usage{Input: 12, Output: 9},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eof := !strings.Contains(tt.name, "truncated")
			got := exchangeOf(FormatAnthropicMessages, aRequest, tt.response, eof)
			if diff := cmp.Diff(&tt.want, got.Usage); diff != "" {
				t.Errorf("%s\nusage (-want +got):\n%s", tt.rule, diff)
			}
			if got.Complete != (tt.reason == "") || got.Reason != tt.reason {
				t.Errorf("complete = %v, reason = %q; want %q", got.Complete, got.Reason, tt.reason)
			}
			charges := map[string]Usage{}
			for _, c := range got.Charges {
				u := charges[c.Model]
				u.add(c.Usage)
				charges[c.Model] = u
			}
			want := tt.charges
			if want == nil {
				want = map[string]Usage{"claude-opus-4-8": tt.want}
			}
			if diff := cmp.Diff(want, charges); diff != "" {
				t.Errorf("%s\ncharges (-want +got):\n%s", tt.rule, diff)
			}
		})
	}
}

func TestAnthropicTierAndMode(t *testing.T) {
	tests := []struct {
		name, request, usage string
		tier                 string
		mode                 Mode
	}{
		{"the response's tier wins", `{"service_tier":"auto"}`, `"service_tier":"priority"`, "priority", ModeStandard},
		{"the request's tier if the response has none", `{"service_tier":"standard_only"}`, ``, "standard_only", ModeStandard},
		{"batch is a mode", `{"thinking":{"type":"enabled"}}`, `"service_tier":"batch"`, "batch", ModeBatch},
		{"fast", `{"speed":"fast"}`, `"service_tier":"standard","speed":"fast"`, "fast", ModeStandard},
		{"asked for fast, served standard", `{"speed":"fast"}`, `"service_tier":"standard","speed":"standard"`, "standard", ModeStandard},
		{"modifiers add up", `{}`, `"service_tier":"batch","speed":"fast","inference_geo":"us"`, "batch+fast+us", ModeBatch},
		{"served anywhere", `{}`, `"service_tier":"standard","inference_geo":"not_available"`, "standard", ModeStandard},
		{"thinking asked for", `{"thinking":{"type":"adaptive"}}`, `"service_tier":"standard"`, "standard", ModeThinking},
		{"thinking disabled", `{"thinking":{"type":"disabled"}}`, `"service_tier":"standard"`, "standard", ModeStandard},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			usage := strings.TrimSuffix(`"input_tokens":1,"output_tokens":2,`+tt.usage, ",")
			got := exchangeOf(FormatAnthropicMessages, tt.request, `{"usage":{`+usage+`}}`, true)
			if got.Tier != tt.tier || got.Mode != tt.mode {
				t.Errorf("tier = %q, mode = %q; want %q, %q", got.Tier, got.Mode, tt.tier, tt.mode)
			}
		})
	}
	got := exchangeOf(FormatAnthropicMessages, `{}`, `{"content":[{"type":"thinking"}],"usage":{"input_tokens":1}}`, true)
	if got.Mode != ModeThinking {
		t.Errorf("mode = %q for a response with a thinking block", got.Mode)
	}
}

func TestServedModelOverRequested(t *testing.T) {
	responses := map[Format]string{
		FormatAnthropicMessages: `{"model":"served-1","usage":{"input_tokens":1}}`,
		FormatOpenAIChat:        `{"model":"served-1","usage":{"prompt_tokens":1}}`,
		FormatOpenAIResponses:   `{"model":"served-1","usage":{"input_tokens":1}}`,
	}
	for f, response := range responses {
		got := exchangeOf(f, `{"messages":[{"model":"decoy"}],"model":"asked"}`, response, true)
		if got.Model != "served-1" || got.RequestedModel != "asked" || got.Charges[0].Model != "served-1" {
			t.Errorf("%s: %+v", f, got)
		}
		got = exchangeOf(f, `{"model":"asked"}`, strings.Replace(response, "model", "nodel", 1), true)
		if got.Model != "asked" || got.Charges[0].Model != "asked" {
			t.Errorf("%s without a served model: %+v", f, got)
		}
	}
}

func TestRequestCut(t *testing.T) {
	request := `{"model":"asked","stream":true,"messages":[{"content":"` + strings.Repeat(`\"model\":\"decoy\"`, 50)
	for _, f := range []Format{FormatAnthropicMessages, FormatOpenAIChat, FormatOpenAIResponses} {
		got := exchangeOf(f, request, "", false)
		if got.RequestedModel != "asked" || !got.Stream || got.Complete || got.Reason == "" {
			t.Errorf("%s: %+v", f, got)
		}
	}
}
