package provider

import (
	"bytes"
	"cmp"
	"maps"
)

// anthropicBatch reads the results of a batch of Anthropic's: a message a
// line, in any order, of as many requests as the batch had. See
// https://platform.claude.com/docs/en/build-with-claude/batch-processing.
//
// The batch is billed once, however often its results are retrieved: the first
// message's id stands for all.
type anthropicBatch struct {
	exchange
	charges  []Charge
	messages int
	bad      bool // a line could not be read
}

// maxMessages is ten times what a batch may hold; sums stay far from overflow.
const maxMessages = 1 << 20

// longPrompt is the length above which some of Anthropic's models cost more: of
// what is summed up, all lie on one side of it.
const longPrompt = 200_000

// Request implements Parser.
func (p *anthropicBatch) Request([]byte) {}

// Event implements Parser. It takes a line.
func (p *anthropicBatch) Event(_ string, line []byte) {
	p.stream = true
	message := member(member(line, "result"), "message")
	if message == nil {
		// Errors, and what was cancelled or expired, are not billed.
		p.bad = p.bad || member(line, "result") == nil
		return
	}
	if p.messages++; p.messages > maxMessages {
		p.doubt("the batch holds too many messages")
		return
	}
	var m anthropicMessages
	m.readMessage(message)
	p.id, p.model = cmp.Or(p.id, m.id), cmp.Or(p.model, m.model)
	p.raw = m.raw
	p.thinking = p.thinking || m.thinking
	p.fault = cmp.Or(p.fault, m.fault)
	// Its own tier says "batch", as does that of no other message.
	p.tier = cmp.Or(p.tier, m.billedTier())
	for _, c := range m.message.usage.charges(m.message.usage.servedModel(m.model)) {
		p.add(c)
	}
}

// add sums up a charge with those at the same prices.
func (p *anthropicBatch) add(c Charge) {
	c.Longest = c.Usage.Prompt()
	for i := range p.charges {
		sum := &p.charges[i]
		if sum.Model == c.Model && sum.Longest > longPrompt == (c.Longest > longPrompt) {
			sum.Usage.add(c.Usage)
			sum.Longest = max(sum.Longest, c.Longest)
			return
		}
	}
	if len(p.charges) == maxCharges {
		p.doubt("the batch is billed at too many models")
		return
	}
	p.charges = append(p.charges, c)
}

// Body implements Parser. Some send the lines as a whole.
func (p *anthropicBatch) Body(status int, body []byte) {
	if status >= 400 {
		p.readError(status, body)
		return
	}
	for line := range bytes.Lines(body) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			p.Event("", line)
		}
	}
}

// Result implements Parser.
func (p *anthropicBatch) Result(eof bool) Result {
	x := p.exchange
	x.tier = cmp.Or(x.tier, "batch")
	var charges []Charge
	for _, c := range p.charges {
		c.Usage.ToolCalls = maps.Clone(c.Usage.ToolCalls)
		charges = append(charges, c)
	}
	switch {
	case p.errorClass != "":
		return x.result(nil, false, "the provider answered with an error")
	case len(charges) == 0:
		return x.result(nil, false, "the provider sent no usage")
	case p.bad || !eof:
		return x.result(charges, false, "the response broke off before its last count")
	}
	return x.result(charges, true, "")
}
