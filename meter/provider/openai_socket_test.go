package provider

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var (
	responsesSocket = Endpoint{Provider: "openai", Format: FormatOpenAIResponses, Kind: KindChat, Socket: true, Stream: true}
	realtimeSocket  = Endpoint{Provider: "openai", Format: FormatOpenAIRealtime, Kind: KindAudio, Socket: true, Stream: true}
)

// talk feeds a conversation to a Dialog: lines that begin with ">" are the
// client's, those with "<" the provider's. It returns a line for each response
// that ended, in order, and for each that is left.
func talk(e Endpoint, lines ...string) []string {
	d := e.NewDialog()
	var open []Parser
	var out []string
	show := func(p Parser, eof bool) {
		r := p.Result(eof)
		s := fmt.Sprintf("%s %s", r.ResponseID, r.Model)
		if r.Usage != nil {
			s += fmt.Sprintf(" %d+%d", r.Usage.Prompt(), r.Usage.Output)
		}
		if !r.Complete {
			s += " incomplete"
		}
		if r.Prefetch {
			s += " prefetch"
		}
		out = append(out, strings.TrimSpace(s+" "+r.ErrorClass+" "+r.ErrorCode))
	}
	for _, line := range lines {
		var p Parser
		var last bool
		if line[0] == '>' {
			p = d.Ask([]byte(line[1:]))
		} else if p, last = d.Answer([]byte(line[1:])); p == nil && last {
			out = append(out, "the last message of no response")
		}
		if p != nil && !slices.Contains(open, p) {
			open = append(open, p)
		}
		if last {
			open = slices.DeleteFunc(open, func(q Parser) bool { return p == q })
			show(p, true)
		}
	}
	for _, p := range open {
		show(p, false)
	}
	return out
}

const usage3 = `"usage":{"input_tokens":100,"input_tokens_details":{"cached_tokens":40},"output_tokens":3}`

func TestResponsesSocket(t *testing.T) {
	created := func(id string) string {
		return `<{"type":"response.created","response":{"id":"` + id + `","model":"gpt-5-2026","status":"in_progress"}}`
	}
	completed := func(id string) string {
		return `<{"type":"response.completed","response":{"id":"` + id + `","model":"gpt-5-2026","status":"completed",` + usage3 + `}}`
	}
	const ask = `>{"type":"response.create","model":"gpt-5","input":[]}`
	const delta = `<{"type":"response.output_text.delta","delta":"x"}`
	for _, tt := range []struct {
		name  string
		lines []string
		want  []string
	}{
		{"one", []string{ask, created("r1"), delta, completed("r1")}, []string{"r1 gpt-5-2026 100+3"}},
		{
			"one after the other",
			[]string{ask, created("r1"), completed("r1"), ask, created("r2"), completed("r2")},
			[]string{"r1 gpt-5-2026 100+3", "r2 gpt-5-2026 100+3"},
		},
		{
			"asked ahead",
			[]string{ask, ask, created("r1"), completed("r1"), created("r2")},
			[]string{"r1 gpt-5-2026 100+3", "r2 gpt-5-2026 incomplete"},
		},
		{
			"two at once",
			[]string{ask, ask, created("r1"), created("r2"), completed("r2"), completed("r1")},
			[]string{"r2 gpt-5-2026 100+3", "r1 gpt-5-2026 100+3"},
		},
		{"cut", []string{ask, created("r1"), delta}, []string{"r1 gpt-5-2026 incomplete"}},
		{"without an answer", []string{ask}, []string{"gpt-5 incomplete"}},
		{
			"failed",
			[]string{ask, created("r1"), `<{"type":"response.failed","response":{"id":"r1","status":"failed","error":{"code":"server_error"}}}`},
			[]string{"r1 gpt-5-2026 incomplete server_error server_error"},
		},
		{
			"refused, then asked again",
			[]string{ask, `<{"type":"error","status":429,"error":{"type":"usage_limit_reached","code":"rate_limit_exceeded"}}`, ask, completed("r1")},
			[]string{"gpt-5 incomplete rate_limit rate_limit_exceeded", "r1 gpt-5-2026 100+3"},
		},
		{"the flat form of an error", []string{ask, `<{"type":"error","code":"server_error","message":"x","param":null}`}, []string{"gpt-5 incomplete server_error server_error"}},
		{"an error of nobody's", []string{`<{"type":"error","error":{"code":"websocket_connection_limit_reached"}}`}, nil},
		{"begun by the provider", []string{created("r1"), completed("r1")}, []string{"r1 gpt-5-2026 100+3"}},
		{"ended twice", []string{ask, completed("r1"), completed("r1")}, []string{"r1 gpt-5-2026 100+3"}},
		{"other messages", []string{`>{"type":"response.processed","response_id":"r0"}`, `<{"type":"codex.rate_limits","rate_limits":{}}`, delta, `>nonsense`, `<[1`, `<{"type":7}`}, nil},
		{
			"prefetch",
			[]string{
				`>{"type":"response.create","model":"gpt-5","generate":false}`,
				`<{"type":"response.completed","response":{"id":"r1","status":"completed","usage":{"input_tokens":0,"output_tokens":0}}}`,
			},
			[]string{"r1 gpt-5 0+0 prefetch"},
		},
		{"billed prefetch", []string{`>{"type":"response.create","model":"gpt-5","generate":false}`, completed("r1")}, []string{"r1 gpt-5-2026 100+3"}},
		{"limited by its length", []string{ask, `<{"type":"response.incomplete","response":{"id":"r1","status":"incomplete",` + usage3 + `}}`}, []string{"r1 gpt-5 100+3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, talk(responsesSocket, tt.lines...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRealtimeSocket(t *testing.T) {
	const session = `<{"type":"session.created","session":{"model":"gpt-realtime","audio":{"input":{"transcription":{"model":"gpt-4o-transcribe"}}}}}`
	const done = `<{"type":"response.done","response":{"object":"realtime.response","id":"r1","status":"completed","output":[],` +
		`"usage":{"total_tokens":150,"input_tokens":100,"output_tokens":50,"input_token_details":{"text_tokens":60,"audio_tokens":40,"cached_tokens":10,` +
		`"cached_tokens_details":{"text_tokens":10,"audio_tokens":0}},"output_token_details":{"text_tokens":20,"audio_tokens":30}}}}`
	for _, tt := range []struct {
		name  string
		lines []string
		want  []string
	}{
		{"begun by the provider", []string{
			session, `>{"type":"input_audio_buffer.append","audio":"AAAA"}`,
			`<{"type":"response.created","response":{"id":"r1","status":"in_progress"}}`, done,
		}, []string{"r1 gpt-realtime 100+50"}},
		{"asked for", []string{session, `>{"type":"response.create","response":{"modalities":["text"]}}`, done}, []string{"r1 gpt-realtime 100+50"}},
		{"cancelled", []string{
			session, `<{"type":"response.created","response":{"id":"r1"}}`,
			`<{"type":"response.done","response":{"id":"r1","status":"cancelled",` + usage3 + `}}`,
		}, []string{"r1 gpt-realtime 100+3"}},
		{
			"failed",
			[]string{session, `<{"type":"response.done","response":{"id":"r1","status":"failed","status_details":{"error":{"type":"invalid_request_error","code":"insufficient_quota"}}}}`},
			[]string{"r1 gpt-realtime incomplete auth insufficient_quota"},
		},
		{
			"refused",
			[]string{session, `>{"type":"response.create","event_id":"e1"}`, `<{"type":"error","error":{"type":"invalid_request_error","event_id":"e1"}}`},
			[]string{"gpt-realtime incomplete bad_request invalid_request_error"},
		},
		{
			"an error about another message",
			[]string{session, `>{"type":"response.create","event_id":"e1"}`, `<{"type":"error","error":{"type":"invalid_request_error","event_id":"e0"}}`, done},
			[]string{"r1 gpt-realtime 100+50"},
		},
		{
			"transcription",
			[]string{session, `<{"type":"conversation.item.input_audio_transcription.completed","item_id":"i1","transcript":"hi","usage":{"type":"tokens","total_tokens":17,"input_tokens":14,"input_token_details":{"audio_tokens":14},"output_tokens":3}}`},
			[]string{"gpt-4o-transcribe 14+3"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, talk(realtimeSocket, tt.lines...)); diff != "" {
				t.Error(diff)
			}
		})
	}

	d := realtimeSocket.NewDialog()
	d.Answer([]byte(session[1:]))
	p, last := d.Answer([]byte(done[1:]))
	want := &Usage{Input: 90, CacheRead: 10, Output: 50, AudioInput: 40, AudioOutput: 30}
	if r := p.Result(true); !last || !r.Complete || cmp.Diff(want, r.Usage) != "" {
		t.Errorf("%+v, %+v, last %v", r, r.Usage, last)
	}
}

// TestSocketIsAStream: a conversation over a WebSocket gives what the same
// events give as a stream of one response each.
func TestSocketIsAStream(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := responsesSocket.NewDialog()
		n := rapid.IntRange(1, 5).Draw(t, "responses")
		for i := range n {
			model := rapid.SampledFrom([]string{"gpt-5", "gpt-5-mini"}).Draw(t, "model")
			request := `{"type":"response.create","model":"` + model + `","service_tier":"flex"}`
			events := []string{
				fmt.Sprintf(`{"type":"response.created","response":{"id":"r%d","status":"in_progress"}}`, i),
				`{"type":"response.output_text.delta","delta":"x"}`,
				fmt.Sprintf(`{"type":"response.completed","response":{"id":"r%d","status":"completed","usage":{"input_tokens":%d,"output_tokens":%d}}}`,
					i, rapid.IntRange(0, 1e6).Draw(t, "in"), rapid.IntRange(0, 1e5).Draw(t, "out")),
			}
			stream := Endpoint{Format: FormatOpenAIResponses, Stream: true}.NewParser()
			stream.Request([]byte(request))
			asked := d.Ask([]byte(request))
			var p Parser
			var last bool
			for _, e := range events {
				stream.Event("", []byte(e))
				p, last = d.Answer([]byte(e))
			}
			want := stream.Result(true)
			want.Stream = true
			if p != asked || !last || cmp.Diff(want, p.Result(true)) != "" {
				t.Fatalf("last %v, same %v: %s", last, p == asked, cmp.Diff(want, p.Result(true)))
			}
		}
	})
}

// FuzzDialog: whatever is said, a response ends at most once, and what it
// says is a sound Result.
func FuzzDialog(f *testing.F) {
	f.Add("> {\"type\":\"response.create\",\"model\":\"m\"}\n< {\"type\":\"response.created\",\"response\":{\"id\":\"1\"}}\n< {\"type\":\"error\",\"status\":500}", false)
	f.Add("< {\"type\":\"session.created\",\"session\":{\"model\":\"m\"}}\n< {\"type\":\"response.done\",\"response\":{\"status\":\"failed\",\"status_details\":{\"error\":{}}}}", true)
	f.Fuzz(func(t *testing.T, script string, realtime bool) {
		e := responsesSocket
		if realtime {
			e = realtimeSocket
		}
		d := e.NewDialog()
		over := map[Parser]bool{}
		for line := range strings.Lines(script) {
			if asked, ok := strings.CutPrefix(line, ">"); ok {
				if p := d.Ask([]byte(asked)); p != nil {
					over[p] = false
				}
				continue
			}
			p, last := d.Answer([]byte(strings.TrimPrefix(line, "<")))
			if p == nil {
				if last {
					t.Fatal("the last message of no response")
				}
				continue
			}
			if over[p] {
				t.Fatal("a response goes on after its end")
			}
			over[p] = last
		}
		for p, last := range over {
			r := p.Result(last)
			checkResult(t, r)
			if len(r.RawUsage) > 0 && !json.Valid(r.RawUsage) {
				t.Errorf("raw usage %q", r.RawUsage)
			}
		}
	})
}
