package provider

import (
	"cmp"
	"strings"
)

// maxQueries bounds the search queries that are told apart.
const maxQueries = 256

// gemini reads Gemini's generateContent and embedContent, of the Gemini API,
// of Vertex AI, and inside Code Assist's envelope, as JSON and as a stream. See
// https://ai.google.dev/api/generate-content#UsageMetadata.
//
// Most chunks of a stream bear a usage so far; the last one wins. With
// alt=sse the chunks are events; without it they are the elements of one
// array, and what came of an array that broke off counts as well. Only the end
// of the response marks the end: counts have grown after a finish reason.
type gemini struct {
	exchange
	counts geminiCounts
	// queries are the searches that the answer is grounded on.
	queries map[string]bool
	// whole: the body, if it is not a stream, was.
	whole bool
	// counted: the answer only says how many tokens there would be.
	counted bool
}

// geminiCounts are the counts of a usage object.
type geminiCounts struct {
	named                      bool
	prompt, toolPrompt, cached int64
	candidates, thoughts       int64
	in, inCached, out          modalities
	inTold, outTold            bool
}

// Request implements Parser.
func (p *gemini) Request(body []byte) {
	p.readRequest(body, func(key, value []byte) {
		if string(key) == "serviceTier" {
			p.requestTier = text(value)
		}
	})
}

// Event implements Parser.
func (p *gemini) Event(_ string, data []byte) {
	p.stream = true
	p.readObject(200, data)
}

// Body implements Parser.
func (p *gemini) Body(status int, body []byte) {
	if i := skipSpace(body, 0); i < len(body) && body[i] == '[' {
		p.stream = true
		elements(body, func(chunk []byte) { p.readObject(status, chunk) })
	} else {
		p.whole = p.readObject(status, body)
	}
	if status >= 400 && p.errorClass == "" {
		p.fail(status, nil)
	}
}

// readObject reads a response or a chunk of one, and reports whether it was
// whole.
func (p *gemini) readObject(status int, object []byte) bool {
	return fields(object, func(key, value []byte) {
		switch string(key) {
		case "response":
			// Code Assist's envelope:
			// https://github.com/google-gemini/gemini-cli, packages/core/src/code_assist.
			p.readObject(status, value)
		case "modelVersion":
			p.model = cmp.Or(strings.TrimPrefix(text(value), "models/"), p.model)
		case "responseId":
			p.id = cmp.Or(text(value), p.id)
		case "candidates":
			elements(value, p.readCandidate)
		case "usageMetadata":
			if !isNull(value) && p.keepRaw(value) {
				p.readUsage(value)
			}
		case "totalTokens":
			// https://ai.google.dev/api/tokens: "free of charge".
			p.counted = true
		case "predictions":
			elements(value, p.readPrediction)
		case "error":
			if !isNull(value) {
				p.fail(status, value)
			}
		}
	})
}

// readPrediction adds up an embedding of Vertex AI's older method, predict. See
// https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api.
func (p *gemini) readPrediction(prediction []byte) {
	var n int64
	if p.count(&n, "token_count", member(member(member(prediction, "embeddings"), "statistics"), "token_count")) {
		p.counts.named, p.counts.inTold = true, true
		p.counts.prompt = min(p.counts.prompt+n, maxCount)
	}
}

// readCandidate notes the searches that an answer is grounded on.
func (p *gemini) readCandidate(candidate []byte) {
	queries := member(member(candidate, "groundingMetadata"), "webSearchQueries")
	elements(queries, func(query []byte) {
		// Empty ones are found there, and not billed.
		if q := string(query); q != `""` && len(q) < 4*maxText && len(p.queries) < maxQueries {
			if p.queries == nil {
				p.queries = make(map[string]bool)
			}
			p.queries[q] = true
		}
	})
}

func (p *gemini) readUsage(value []byte) {
	x := &p.exchange
	var c geminiCounts
	fields(value, func(key, value []byte) {
		switch name := string(key); name {
		case "promptTokenCount":
			c.named = x.count(&c.prompt, name, value) || c.named
		case "candidatesTokenCount":
			c.named = x.count(&c.candidates, name, value) || c.named
		case "thoughtsTokenCount":
			c.named = x.count(&c.thoughts, name, value) || c.named
		case "toolUsePromptTokenCount":
			x.count(&c.toolPrompt, name, value)
		case "cachedContentTokenCount":
			x.count(&c.cached, name, value)
		case "promptTokensDetails", "promptTokenDetails", "toolUsePromptTokensDetails":
			c.inTold = true
			x.readModalities(&c.in, value)
		case "cacheTokensDetails":
			x.readModalities(&c.inCached, value)
		case "candidatesTokensDetails":
			c.outTold = true
			x.readModalities(&c.out, value)
		case "serviceTier":
			p.tier = cmp.Or(strings.ToLower(text(value)), p.tier)
		case "trafficType":
			// Vertex AI: ON_DEMAND, ON_DEMAND_FLEX, PROVISIONED_THROUGHPUT…
			tier := strings.ToLower(text(value))
			p.tier = cmp.Or(p.tier, strings.TrimPrefix(tier, "on_demand_"))
		}
	})
	if c.named {
		p.counts = c
		p.thinking = p.thinking || c.thoughts > 0
	}
}

// readModalities adds up a count by modality.
func (x *exchange) readModalities(m *modalities, details []byte) {
	elements(details, func(part []byte) {
		sum := &m.audio
		switch text(member(part, "modality")) {
		case "AUDIO":
		case "IMAGE", "DOCUMENT":
			sum = &m.image
		case "VIDEO":
			sum = &m.video
		default:
			return
		}
		var n int64
		x.count(&n, "the modality's tokenCount", member(part, "tokenCount"))
		*sum = min(*sum+n, maxCount)
	})
}

// usage takes the counts apart: thoughts are beside the candidates, what a
// tool read is beside the prompt, and cached content is inside the prompt.
func (p *gemini) usage() Usage {
	c := p.counts
	prompt := c.prompt + c.toolPrompt
	u := Usage{
		Input:      prompt,
		CacheRead:  c.cached,
		Output:     c.candidates + c.thoughts,
		Thinking:   c.thoughts,
		ByModality: (c.inTold || prompt == 0) && (c.outTold || c.candidates == 0),
	}
	if c.cached <= prompt {
		u.Input = prompt - c.cached
	}
	c.inCached.fit(c.cached)
	in := c.in.minus(c.inCached)
	in.fit(u.Input)
	c.out.fit(c.candidates)
	u.AudioInput, u.ImageInput, u.VideoInput = in.audio, in.image, in.video
	u.CachedAudioInput, u.CachedImageInput = c.inCached.audio, c.inCached.image
	u.AudioOutput, u.ImageOutput, u.VideoOutput = c.out.audio, c.out.image, c.out.video
	u.addToolCalls("web_search", p.searches())
	return u
}

// searches is how many searches are billed: one a prompt up to Gemini 2.5, one
// for each different query since Gemini 3. See
// https://ai.google.dev/gemini-api/docs/google-search, "Pricing".
func (p *gemini) searches() int64 {
	model := cmp.Or(p.model, p.requested)
	if strings.HasPrefix(model, "gemini-1") || strings.HasPrefix(model, "gemini-2") {
		return int64(min(1, len(p.queries)))
	}
	return int64(len(p.queries))
}

// Result implements Parser.
func (p *gemini) Result(eof bool) Result {
	x := p.exchange
	ended := eof || p.whole
	if !p.counts.named {
		switch {
		case p.errorClass != "":
			return x.result(nil, false, "the provider answered with an error")
		case p.counted && p.whole:
			return x.result([]Charge{{Model: cmp.Or(x.model, x.requested), Usage: Usage{ByModality: true}}}, true, "")
		case !ended || !p.stream && !p.whole:
			return x.result(nil, false, "the response broke off before its usage")
		}
		return x.result(nil, false, "the provider sent no usage")
	}
	charges := []Charge{{Model: cmp.Or(x.model, x.requested), Usage: p.usage()}}
	switch {
	case p.errorClass != "":
		return x.result(charges, false, "the stream failed before its last count")
	case !ended:
		return x.result(charges, false, "the response broke off before its last count")
	}
	return x.result(charges, true, "")
}
