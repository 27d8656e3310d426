package provider

import "cmp"

// cohere reads Cohere's chat, embed and rerank APIs, as JSON and as a stream,
// whose message-end event names the usage once. See
// https://docs.cohere.com/v2/reference/chat.
//
// Two counts stand side by side: tokens is what the model saw, with the
// provider's own template, of which cached_tokens is a part; billed_units is
// what is charged.
type cohere struct {
	exchange
	counts cohereCounts
	// ended: the response reached its own end.
	ended bool
}

type cohereCounts struct {
	named                 bool
	input, output, images int64
	searches              int64
}

// Request implements Parser.
func (p *cohere) Request(body []byte) {
	p.readRequest(body, func(key, value []byte) {
		if string(key) == "thinking" {
			p.thinking = text(member(value, "type")) == "enabled"
		}
	})
}

// Event implements Parser.
func (p *cohere) Event(name string, data []byte) {
	p.stream = true
	switch cmp.Or(name, text(member(data, "type")), text(member(data, "event_type"))) {
	case "message-start":
		p.id = cmp.Or(text(member(data, "id")), p.id)
	case "message-end":
		p.ended = p.readObject(200, member(data, "delta"))
		if text(member(member(data, "delta"), "finish_reason")) == "ERROR" {
			p.fail(200, nil)
		}
	case "stream-end": // version 1
		p.ended = p.readObject(200, member(data, "response"))
	}
}

// Body implements Parser.
func (p *cohere) Body(status int, body []byte) {
	p.ended = p.readObject(status, body)
	if status >= 400 && p.errorClass == "" {
		p.fail(status, nil)
	}
}

// readObject reads a response, and reports whether it was whole.
func (p *cohere) readObject(status int, object []byte) bool {
	return fields(object, func(key, value []byte) {
		switch string(key) {
		case "id", "generation_id":
			p.id = cmp.Or(text(value), p.id)
		case "usage", "meta":
			if !isNull(value) && member(value, "billed_units") != nil && p.keepRaw(value) {
				p.counts.read(&p.exchange, value)
			}
		case "error":
			if !isNull(value) {
				p.fail(status, value)
			}
		}
	})
}

func (c *cohereCounts) read(x *exchange, usage []byte) {
	fields(member(usage, "billed_units"), func(key, value []byte) {
		switch name := string(key); name {
		case "input_tokens":
			c.named = x.count(&c.input, name, value) || c.named
		case "output_tokens":
			c.named = x.count(&c.output, name, value) || c.named
		case "image_tokens":
			c.named = x.count(&c.images, name, value) || c.named
		case "search_units":
			c.named = x.count(&c.searches, name, value) || c.named
		}
	})
}

// usage returns the counts as a Usage.
func (c *cohereCounts) usage() Usage {
	u := Usage{Input: c.input + c.images, ImageInput: c.images, Output: c.output}
	u.addToolCalls("search_unit", c.searches)
	return u
}

// Result implements Parser.
func (p *cohere) Result(bool) Result {
	x := p.exchange
	if !p.counts.named {
		switch {
		case p.errorClass != "":
			return x.result(nil, false, "the provider answered with an error")
		case p.ended:
			return x.result(nil, false, "the provider sent no usage")
		}
		return x.result(nil, false, "the response broke off before its usage")
	}
	charges := []Charge{{Model: cmp.Or(x.model, x.requested), Usage: p.counts.usage()}}
	return x.result(charges, p.ended && p.errorClass == "", "the response broke off before its last count")
}
