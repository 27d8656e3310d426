package provider

import (
	"encoding/json"
	"strings"
	"testing"
)

// The oracle states the rules a second time, over plainly decoded JSON and
// with none of the parsers' code, so that a recording can be checked against
// what it says and not against what the parser makes of it.

type object = map[string]any

// oracle returns the usage that the recording names, nil if it names none.
func oracle(t *testing.T, r recording) *Usage {
	t.Helper()
	var docs []object
	if r.Stream {
		for _, e := range splitEvents(r.ResponseBody) {
			var d object
			if e.data != "[DONE]" {
				if err := json.Unmarshal([]byte(e.data), &d); err != nil {
					t.Fatal(err)
				}
				docs = append(docs, d)
			}
		}
	} else {
		var d object
		if err := json.Unmarshal([]byte(r.ResponseBody), &d); err != nil {
			t.Fatal(err)
		}
		docs = []object{d}
	}
	if strings.Contains(r.URL, "anthropic.com") {
		return anthropicOracle(docs)
	}
	return openaiOracle(docs)
}

// anthropicOracle merges the usage objects in order, adds the iterations that
// the top level leaves out, and keeps the lifetimes of cache writes.
func anthropicOracle(docs []object) *Usage {
	merged := object{}
	for _, d := range docs {
		for _, place := range []object{d, at(d, "message")} {
			for k, v := range at(place, "usage") {
				if v != nil {
					merged[k] = v
				}
			}
		}
	}
	if len(merged) == 0 {
		return nil
	}
	u := &Usage{}
	add := func(o object) {
		u.Input += num(o, "input_tokens")
		u.Output += num(o, "output_tokens")
		u.CacheRead += num(o, "cache_read_input_tokens")
		long := num(at(o, "cache_creation"), "ephemeral_1h_input_tokens")
		u.CacheWrite1h += long
		u.CacheWrite5m += num(o, "cache_creation_input_tokens") - long
	}
	add(merged)
	turns, _ := merged["iterations"].([]any)
	for _, turn := range turns {
		if o := turn.(object); o["type"] == "compaction" || o["type"] == "advisor_message" {
			add(o)
		}
	}
	u.Thinking = num(at(merged, "output_tokens_details"), "thinking_tokens")
	if n := num(at(merged, "server_tool_use"), "web_search_requests"); n > 0 {
		u.ToolCalls = map[string]int64{"web_search": n}
	}
	return u
}

// openaiOracle takes the last usage, and takes cached tokens out of the
// prompt.
func openaiOracle(docs []object) *Usage {
	var usage object
	calls := map[string]int64{}
	for _, d := range docs {
		for _, place := range []object{d, at(d, "response")} {
			found := at(place, "usage")
			if found == nil {
				continue
			}
			usage = found
			clear(calls)
			items, _ := place["output"].([]any)
			for _, item := range items {
				o := item.(object)
				switch {
				case o["type"] == "file_search_call":
					calls["file_search"]++
				case o["type"] == "web_search_call" && at(o, "action")["type"] == "search":
					calls["web_search"]++
				}
			}
		}
	}
	if usage == nil {
		return nil
	}
	either := func(a, b string) int64 { return num(usage, a) + num(usage, b) }
	detail := func(a, b, name string) int64 { return num(at(usage, a), name) + num(at(usage, b), name) }
	const in1, in2 = "prompt_tokens_details", "input_tokens_details"
	const out1, out2 = "completion_tokens_details", "output_tokens_details"
	u := &Usage{
		CacheRead:    detail(in1, in2, "cached_tokens"),
		CacheWrite5m: detail(in1, in2, "cache_write_tokens"),
		Output:       either("completion_tokens", "output_tokens"),
		Thinking:     detail(out1, out2, "reasoning_tokens"),
		AudioInput:   detail(in1, in2, "audio_tokens"),
		AudioOutput:  detail(out1, out2, "audio_tokens"),
	}
	u.Input = either("prompt_tokens", "input_tokens") - u.CacheRead - u.CacheWrite5m
	if len(calls) > 0 {
		u.ToolCalls = calls
	}
	return u
}

func at(o object, key string) object {
	v, _ := o[key].(object)
	return v
}

func num(o object, key string) int64 {
	v, _ := o[key].(float64)
	return int64(v)
}
