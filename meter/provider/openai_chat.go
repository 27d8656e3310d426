package provider

import "cmp"

// openaiChat reads OpenAI's chat completions, as JSON and as a stream, and
// what shares its usage object: completions and embeddings. See
// https://platform.openai.com/docs/api-reference/chat.
//
// A stream names its usage in one late chunk, and only if the request asked
// for it with stream_options.include_usage. OpenAI's chunk has no choices;
// other providers put the usage on the chunk that ends the last choice, or a
// running count on every chunk, so the last one wins.
type openaiChat struct {
	exchange
	includeUsage bool

	usage Usage
	named bool
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
	if status >= 400 && p.errorClass == "" {
		p.fail(status, nil)
	}
}

// readObject reads a completion or a chunk of one, and reports whether it was
// whole.
func (p *openaiChat) readObject(status int, object []byte) bool {
	choices, named := false, false
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
				reason := member(choice, "finish_reason")
				p.finished = p.finished || reason != nil && !isNull(reason)
			})
		case "usage":
			if isNull(value) || !p.keepRaw(value) {
				return
			}
			if u, ok := openaiUsage(&p.exchange, value); ok {
				p.usage, p.named, named = u, true, true
				p.thinking = p.thinking || u.Thinking > 0
			}
		case "error":
			if !isNull(value) {
				p.fail(status, value)
			}
		}
	})
	if named {
		p.final = p.finished || !choices
	}
	return whole
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
		case p.stream && !p.includeUsage:
			return x.result(nil, false, "provider sent no usage (stream_options.include_usage is off)")
		}
		return x.result(nil, false, "the provider sent no usage")
	}
	charges := []Charge{{Model: cmp.Or(x.model, x.requested), Usage: p.usage}}
	switch {
	case p.errorClass != "":
		return x.result(charges, false, "the stream failed before its last count")
	case !p.final && !ended:
		return x.result(charges, false, "the response broke off before its last count")
	}
	return x.result(charges, true, "")
}
