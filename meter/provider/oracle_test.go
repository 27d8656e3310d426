package provider

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"
)

// The oracle states the rules a second time, over plainly decoded JSON and
// with none of the parsers' code, so that a recording can be checked against
// what it says and not against what the parser makes of it.

type object = map[string]any

// expectation is what a recording says.
type expectation struct {
	usage *Usage // nil if it names none
	// nanoUSD is the cost that it names, nil if it names none.
	nanoUSD *int64
	// contradictory: the counts cannot all be true.
	contradictory bool
	// failed: an error is told.
	failed bool
}

// oracle reads a recording.
func oracle(t *testing.T, r recording) expectation {
	t.Helper()
	var docs []object
	if r.Stream {
		for _, e := range splitEvents(r.ResponseBody) {
			if e.data != "[DONE]" {
				docs = append(docs, decode(t, e.data))
			}
		}
	} else {
		docs = []object{decode(t, r.ResponseBody)}
	}
	var e expectation
	switch {
	case strings.Contains(r.URL, "anthropic.com"):
		e.usage = anthropicOracle(docs)
	case strings.Contains(r.URL, "googleapis.com") && !strings.Contains(r.URL, "/openai/"):
		e.usage = geminiOracle(docs)
	default:
		e = openaiOracle(docs, strings.Contains(r.URL, "googleapis.com"))
	}
	e.failed = r.Status >= 400
	for _, d := range docs {
		e.failed = e.failed || d["error"] != nil
	}
	return e
}

func decode(t *testing.T, text string) object {
	t.Helper()
	var o object
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&o); err != nil {
		t.Fatal(err)
	}
	return o
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
	for _, o := range list(merged, "iterations") {
		if o["type"] == "compaction" || o["type"] == "advisor_message" {
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
// prompt. What the total has beyond prompt and completion is reasoning, if
// the counts name as much, or if the provider hides it.
func openaiOracle(docs []object, hidesReasoning bool) (e expectation) {
	var usage object
	calls := map[string]int64{}
	for _, d := range docs {
		for _, place := range []object{d, at(d, "response"), at(d, "x_groq")} {
			found := at(place, "usage")
			if found == nil {
				continue
			}
			usage = found
			clear(calls)
			for _, o := range list(place, "output") {
				switch {
				case o["type"] == "file_search_call":
					calls["file_search"]++
				case o["type"] == "web_search_call" && at(o, "action")["type"] == "search":
					calls["web_search"]++
				}
			}
			for _, choice := range list(place, "choices") {
				for _, tool := range list(at(choice, "message"), "executed_tools") {
					calls[strings.Replace(tool["type"].(string), "search", "web_search", 1)]++
				}
			}
			if n := num(at(found, "server_tool_use_details"), "web_search_requests"); n > 0 {
				calls["web_search"] = n
			}
		}
	}
	if usage == nil {
		return e
	}
	either := func(a, b string) int64 { return num(usage, a) + num(usage, b) }
	detail := func(a, b, name string) int64 { return num(at(usage, a), name) + num(at(usage, b), name) }
	const in1, in2 = "prompt_tokens_details", "input_tokens_details"
	const out1, out2 = "completion_tokens_details", "output_tokens_details"
	prompt, output, total := either("prompt_tokens", "input_tokens"), either("completion_tokens", "output_tokens"), num(usage, "total_tokens")
	reasoning := detail(out1, out2, "reasoning_tokens")
	turns := list(at(docs[0], "usage_breakdown"), "models")
	for _, turn := range turns {
		reasoning += num(at(at(turn, "usage"), "completion_tokens_details"), "reasoning_tokens")
	}
	if hidesReasoning {
		reasoning = total - prompt - output
	}
	if reasoning > 0 && total == prompt+output+reasoning {
		output += reasoning
	}
	e.contradictory = reasoning > output
	cached := detail(in1, in2, "cached_tokens")
	cached = max(cached, num(usage, "num_cached_tokens"), num(usage, "prompt_cache_hit_tokens"))
	e.usage = &Usage{
		CacheRead:    cached,
		CacheWrite5m: detail(in1, in2, "cache_write_tokens"),
		Output:       output,
		Thinking:     min(reasoning, output),
		AudioInput:   detail(in1, in2, "audio_tokens"),
		AudioOutput:  detail(out1, out2, "audio_tokens"),
		ImageInput:   detail(in1, in2, "image_tokens"),
		ImageOutput:  detail(out1, out2, "image_tokens"),
		ByModality:   at(usage, in1)["image_tokens"] != nil || at(usage, in2)["image_tokens"] != nil,
	}
	e.usage.Input = prompt - e.usage.CacheRead - e.usage.CacheWrite5m
	if len(calls) > 0 {
		e.usage.ToolCalls = calls
	}
	e.nanoUSD = reported(usage)
	return e
}

// reported is the cost that the provider names.
func reported(usage object) *int64 {
	cost, ok := usage["cost"].(json.Number)
	if !ok {
		return nil
	}
	sum, _ := new(big.Rat).SetString(cost.String())
	if usage["is_byok"] == true {
		upstream, _ := new(big.Rat).SetString(at(usage, "cost_details")["upstream_inference_cost"].(json.Number).String())
		sum.Add(sum, upstream)
	}
	text := sum.Mul(sum, big.NewRat(1e9, 1)).FloatString(0) // halves away from zero
	nano, _ := new(big.Int).SetString(text, 10)
	n := nano.Int64()
	return &n
}

// geminiOracle takes the last usage. Thoughts are beside the candidates, what
// tools read is beside the prompt, and the cache is inside the prompt.
func geminiOracle(docs []object) *Usage {
	var usage object
	searches := map[string]bool{}
	model := ""
	for _, d := range docs {
		if found := at(d, "usageMetadata"); found != nil {
			usage = found
		}
		if m, ok := d["modelVersion"].(string); ok {
			model = m
		}
		for _, c := range list(d, "candidates") {
			queries, _ := at(c, "groundingMetadata")["webSearchQueries"].([]any)
			for _, q := range queries {
				if q != "" {
					searches[q.(string)] = true
				}
			}
		}
	}
	if usage == nil {
		if docs[0]["totalTokens"] != nil {
			return &Usage{ByModality: true} // counting tokens is free of charge
		}
		return nil
	}
	tokens := func(modality, name string) (n int64) {
		for _, o := range list(usage, name) {
			if o["modality"] == modality {
				n += num(o, "tokenCount")
			}
		}
		return n
	}
	audio := func(name string) int64 { return tokens("AUDIO", name) }
	images := func(name string) int64 { return tokens("IMAGE", name) + tokens("DOCUMENT", name) }
	u := &Usage{
		CacheRead:        num(usage, "cachedContentTokenCount"),
		Output:           num(usage, "candidatesTokenCount") + num(usage, "thoughtsTokenCount"),
		Thinking:         num(usage, "thoughtsTokenCount"),
		CachedAudioInput: audio("cacheTokensDetails"),
		AudioOutput:      audio("candidatesTokensDetails"),
		CachedImageInput: images("cacheTokensDetails"),
		ImageOutput:      images("candidatesTokensDetails"),
	}
	u.ImageInput = images("promptTokensDetails") + images("toolUsePromptTokensDetails") - u.CachedImageInput
	u.VideoInput = tokens("VIDEO", "promptTokensDetails")
	u.ByModality = (usage["promptTokensDetails"] != nil || usage["promptTokenDetails"] != nil) &&
		(num(usage, "candidatesTokenCount") == 0 || usage["candidatesTokensDetails"] != nil)
	u.Input = num(usage, "promptTokenCount") + num(usage, "toolUsePromptTokenCount") - u.CacheRead
	u.AudioInput = audio("promptTokensDetails") + audio("toolUsePromptTokensDetails") - u.CachedAudioInput
	if n := int64(len(searches)); n > 0 {
		if strings.HasPrefix(model, "gemini-2") {
			n = 1 // billed by the prompt
		}
		u.ToolCalls = map[string]int64{"web_search": n}
	}
	return u
}

func at(o object, key string) object {
	v, _ := o[key].(object)
	return v
}

func list(o object, key string) (items []object) {
	values, _ := o[key].([]any)
	for _, v := range values {
		item, _ := v.(object)
		items = append(items, item)
	}
	return items
}

func num(o object, key string) int64 {
	v, _ := o[key].(json.Number)
	n, _ := v.Int64()
	return n
}
