package provider

import (
	"cmp"
	"maps"
	"slices"
)

// maxTurns bounds the models that a compound system may call, and its tools.
const maxTurns = 16

// openaiChat reads OpenAI's chat completions, as JSON and as a stream, and
// what has its usage at the same place: completions, embeddings, images and
// audio. See https://platform.openai.com/docs/api-reference/chat.
//
// A stream names its usage in one late chunk, and only if the request asked
// for it with stream_options.include_usage. OpenAI's chunk has no choices;
// other providers put the usage on the chunk that ends the last choice, or a
// running count on every chunk, so the last one wins.
type openaiChat struct {
	exchange
	includeUsage bool
	// hiddenReasoning: the total includes reasoning that no other count does.
	hiddenReasoning bool

	usage Usage
	named bool
	// turns are the models of a compound system, where it names them.
	turns []Charge
	// tools counts what it called meanwhile.
	tools map[string]int64
	// seconds: the usage counts seconds of audio and no tokens.
	seconds bool
	// final: the usage cannot change any more. whole: the response reached
	// its own end.
	final, whole bool
	finished     bool
}

// Request implements Parser.
func (p *openaiChat) Request(body []byte) {
	p.readRequest(body, func(key, value []byte) {
		if string(key) == "stream_options" {
			p.includeUsage = isTrue(member(value, "include_usage"))
		}
	})
}

// Event implements Parser.
func (p *openaiChat) Event(_ string, data []byte) {
	if string(data) == "[DONE]" {
		p.whole = true
		return
	}
	p.readObject(200, data)
}

// Body implements Parser.
func (p *openaiChat) Body(status int, body []byte) {
	p.whole = p.readObject(status, body)
	p.final = p.whole
	if status >= 400 && p.errorCode == "" {
		// Mistral and xAI have the code at the top, xAI beside a text "error".
		p.fail(status, body)
	}
}

// readObject reads a completion or a chunk of one, and reports whether it was
// whole.
func (p *openaiChat) readObject(status int, object []byte) bool {
	choices, named := false, false
	var usage, extension, inChoice []byte
	whole := fields(object, func(key, value []byte) {
		switch string(key) {
		case "id":
			p.id = cmp.Or(text(value), p.id)
		case "model":
			p.model = cmp.Or(text(value), p.model)
		case "service_tier":
			p.tier = cmp.Or(text(value), p.tier)
		case "choices":
			elements(value, func(choice []byte) {
				choices = true
				if reason := member(choice, "finish_reason"); reason != nil && !isNull(reason) {
					p.finished = true
					// Moonshot's streams tell it there.
					inChoice = member(choice, "usage")
				}
				elements(member(member(choice, "message"), "executed_tools"), p.readTool)
			})
		case "usage":
			usage = value
		case "usage_breakdown":
			p.readTurns(value)
		case "x_groq":
			extension = value
		case "error":
			if !isNull(value) {
				p.fail(status, value)
			}
		}
	})
	if usage == nil || isNull(usage) {
		// Groq's streams tell it there, asked or not, and again at the top
		// level if asked: it is the same usage.
		usage = member(extension, "usage")
		p.readTurns(member(extension, "usage_breakdown"))
	}
	if usage == nil || isNull(usage) {
		usage = inChoice
	}
	if usage != nil && !isNull(usage) {
		named = p.readUsage(usage)
	}
	if named {
		p.final = p.finished || !choices
	}
	return whole
}

// readUsage reads a usage object, and reports whether it names a count.
func (p *openaiChat) readUsage(value []byte) bool {
	if !p.keepRaw(value) {
		return false
	}
	u, named := openaiUsage(&p.exchange, value)
	if !named {
		p.seconds = text(member(value, "type")) == "duration"
		return false
	}
	if p.hiddenReasoning {
		var total int64
		p.count(&total, "total_tokens", member(value, "total_tokens"))
		if rest := total - u.Prompt() - u.Output; rest > 0 {
			u.Output += rest
			u.Thinking += rest
		}
	}
	p.usage, p.named = u, true
	p.thinking = p.thinking || u.Thinking > 0
	return true
}

// readTurns reads which models a compound system called, and with what usage:
// it has no price of its own. See https://console.groq.com/docs/compound.
func (p *openaiChat) readTurns(breakdown []byte) {
	models := member(breakdown, "models")
	if models == nil || isNull(models) {
		return
	}
	p.turns = nil
	x := p.exchange // each turn's cost and doubts are its own
	elements(models, func(turn []byte) {
		u, _ := openaiUsage(&x, member(turn, "usage"))
		if len(p.turns) < maxTurns {
			p.turns = addCharge(p.turns, text(member(turn, "model")), u)
		}
	})
}

// readTool counts a tool that a compound system called: each is billed by the
// call. Streams tell a tool in several pieces, and no sound breakdown.
func (p *openaiChat) readTool(tool []byte) {
	name := text(member(tool, "type"))
	switch name {
	case "":
		return
	case "search":
		name = "web_search"
	}
	if p.tools == nil {
		p.tools = make(map[string]int64)
	}
	if len(p.tools) < maxTurns || p.tools[name] > 0 {
		p.tools[name]++
	}
}

// charges is the usage by model. The turns count only if they are the whole
// of it: streams have been seen that repeat the whole for each turn.
func (p *openaiChat) charges() []Charge {
	var sum Usage
	for _, c := range p.turns {
		sum.add(c.Usage)
	}
	if len(p.turns) > 0 && sum.Prompt() == p.usage.Prompt() && sum.Output == p.usage.Output {
		charges := slices.Clone(p.turns)
		for name, n := range p.tools {
			charges[0].Usage.ToolCalls = maps.Clone(charges[0].Usage.ToolCalls)
			charges[0].Usage.addToolCalls(name, n)
		}
		return charges
	}
	return addCharge(nil, cmp.Or(p.model, p.requested), p.usage)
}

// Result implements Parser.
func (p *openaiChat) Result(eof bool) Result {
	x := p.exchange
	ended := eof || p.whole
	if !p.named {
		switch {
		case p.errorClass != "":
			return x.result(nil, false, "the provider answered with an error")
		case !ended || !p.stream && !p.whole:
			return x.result(nil, false, "the response broke off before its usage")
		case p.seconds:
			return x.result(nil, false, "the provider counts seconds of audio, not tokens")
		case p.stream && !p.includeUsage:
			return x.result(nil, false, "provider sent no usage (stream_options.include_usage is off)")
		}
		return x.result(nil, false, "the provider sent no usage")
	}
	charges := p.charges()
	switch {
	case p.errorClass != "" && (!p.final || !p.whole):
		return x.result(charges, false, "the stream failed before its last count")
	case !p.final && !ended:
		return x.result(charges, false, "the response broke off before its last count")
	}
	return x.result(charges, true, "")
}
