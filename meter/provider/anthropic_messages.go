package provider

import (
	"cmp"
	"strings"
)

// anthropicMessages reads Anthropic's Messages API, as JSON and as a stream.
// See https://platform.claude.com/docs/en/api/messages and
// https://platform.claude.com/docs/en/build-with-claude/streaming.
//
// A stream names its usage twice. message_start has the prompt's counts, with
// the split of cache writes by lifetime; each message_delta then repeats the
// counts that changed. They are cumulative, so the last one wins, field by
// field: old deltas name only output_tokens, new ones repeat the input, which
// has grown if a server tool fed its results to the model.
type anthropicMessages struct {
	exchange
	requestSpeed string
	requestGeo   string

	message anthropicMessage
	// earlier holds the charges of messages that this stream already ended.
	earlier []Charge
	cut     bool // a message gave way to another before it ended
}

// anthropicMessage is the state of one message.
type anthropicMessage struct {
	usage anthropicUsage
	// started and ended: message_start and message_stop were seen, or a body.
	// stopped: a message_delta told the stop reason.
	started, stopped, ended bool
}

// Request implements Parser.
func (p *anthropicMessages) Request(body []byte) {
	p.readRequest(body, func(key, value []byte) {
		switch string(key) {
		case "speed":
			p.requestSpeed = text(value)
		case "inference_geo":
			p.requestGeo = text(value)
		case "thinking":
			kind := text(member(value, "type"))
			p.thinking = kind != "" && kind != "disabled"
		}
	})
}

// Event implements Parser.
func (p *anthropicMessages) Event(name string, data []byte) {
	switch eventKind(name, data) {
	case "message_start":
		p.start(member(data, "message"))
	case "content_block_start":
		p.readBlock(member(data, "content_block"))
	case "message_delta":
		fields(data, func(key, value []byte) {
			switch string(key) {
			case "usage":
				p.readUsage(value)
			case "delta":
				if reason := member(value, "stop_reason"); reason != nil && !isNull(reason) {
					p.message.stopped = true
				}
			}
		})
	case "message_stop":
		p.message.ended = true
	case "error":
		p.fail(200, member(data, "error"))
	}
}

// start begins a message. A second start with the same id is the first one
// again, whose counts must not be added. Another id is another message that
// the provider served, and bills, on the same stream.
func (p *anthropicMessages) start(message []byte) {
	id := text(member(message, "id"))
	if u := &p.message.usage; u.named && id != p.id {
		p.cut = p.cut || !p.message.ended
		for _, c := range u.charges(u.servedModel(cmp.Or(p.model, p.requested))) {
			if len(p.earlier) < maxCharges {
				p.earlier = addCharge(p.earlier, c.Model, c.Usage)
			} else {
				p.doubt("the stream holds too many messages")
			}
		}
	}
	p.message = anthropicMessage{started: true}
	p.readMessage(message)
}

// readMessage reads a message object, and reports whether it was whole.
func (p *anthropicMessages) readMessage(message []byte) bool {
	return fields(message, func(key, value []byte) {
		switch string(key) {
		case "id":
			p.id = text(value)
		case "model":
			p.model = text(value)
		case "usage":
			p.readUsage(value)
		case "content":
			elements(value, p.readBlock)
		}
	})
}

// readBlock notes a block that only a thinking model writes.
func (p *anthropicMessages) readBlock(block []byte) {
	if p.thinking {
		return
	}
	kind := text(member(block, "type"))
	p.thinking = kind == "thinking" || kind == "redacted_thinking"
}

// Body implements Parser.
func (p *anthropicMessages) Body(status int, body []byte) {
	p.readError(status, body)
	if p.errorClass != "" {
		return
	}
	p.message = anthropicMessage{started: true}
	p.message.ended = p.readMessage(body)
}

// Result implements Parser.
func (p *anthropicMessages) Result(eof bool) Result {
	x, m := p.exchange, p.message
	x.tier = p.billedTier()
	x.model = m.usage.servedModel(cmp.Or(x.model, x.requested))
	var charges []Charge
	for _, c := range p.earlier {
		charges = addCharge(charges, c.Model, c.Usage)
	}
	for _, c := range m.usage.charges(x.model) {
		charges = addCharge(charges, c.Model, c.Usage)
	}
	// message_stop ends a message for good. Without it, the delta with the
	// stop reason is the last count, if the response then ended in order.
	final := m.started && (m.ended || m.stopped && eof)
	switch {
	case len(charges) == 0 && p.errorClass != "":
		return x.result(nil, false, "the provider answered with an error")
	case len(charges) == 0 && m.ended:
		return x.result(nil, false, "the provider sent no usage")
	case len(charges) == 0:
		return x.result(nil, false, "the response broke off before its usage")
	case p.errorClass != "":
		return x.result(charges, false, "the stream failed before its last count")
	case !m.started:
		return x.result(charges, false, "the start of the stream is missing")
	case p.cut || !final:
		return x.result(charges, false, "the response broke off before its last count")
	}
	return x.result(charges, true, "")
}

// billedTier joins the three things that change the price of a message. What
// the response says wins over what the request asked for.
func (p *anthropicMessages) billedTier() string {
	u := &p.message.usage
	tier := cmp.Or(u.tier, p.requestTier)
	var parts []string
	switch tier {
	case "", "standard", "auto", "standard_only":
	default:
		parts = append(parts, tier)
	}
	if speed := cmp.Or(u.speed, p.requestSpeed); speed != "" && speed != "standard" {
		parts = append(parts, speed)
	}
	// "global" and "not_available" are served anywhere, at the list price.
	if geo := cmp.Or(u.geo, p.requestGeo); geo != "" && geo != "global" && geo != "not_available" {
		parts = append(parts, geo)
	}
	if len(parts) == 0 {
		return tier
	}
	return strings.Join(parts, "+")
}

// readUsage merges a usage object into the message's.
func (p *anthropicMessages) readUsage(value []byte) {
	if !isNull(value) && p.keepRaw(value) {
		p.message.usage.read(&p.exchange, value)
	}
}
