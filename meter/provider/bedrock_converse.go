package provider

import (
	"cmp"
	"strings"
)

// bedrockConverse reads Amazon Bedrock's Converse API, as JSON and as an
// event stream, whose metadata event names the usage once, at the end. See
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html.
//
// No response names its model: the path does, and it is the name that is
// billed, with the geography that serves it ("us.anthropic.claude-…").
type bedrockConverse struct {
	exchange
	modifiers bedrockTier
	counts    bedrockCounts
	// ended: the response reached its own end.
	ended bool
}

// Request implements Parser.
func (p *bedrockConverse) Request(body []byte) {
	p.readRequest(body, p.modifiers.readMember)
	p.tier = p.modifiers.String()
}

// Event implements Parser.
func (p *bedrockConverse) Event(name string, data []byte) {
	p.stream = true
	switch {
	case name == "metadata":
		p.ended = p.readResponse(data)
	case strings.HasSuffix(name, "Exception"):
		p.failAs(200, nil, name)
	}
}

// Body implements Parser.
func (p *bedrockConverse) Body(status int, body []byte) {
	if status >= 400 {
		p.fail(status, nil)
		return
	}
	p.ended = p.readResponse(body)
}

// readResponse reads a response, or the metadata of a stream, and reports
// whether it was whole.
func (p *bedrockConverse) readResponse(object []byte) bool {
	whole := fields(object, func(key, value []byte) {
		if string(key) == "usage" && !isNull(value) && p.keepRaw(value) {
			p.counts.readUsage(&p.exchange, value)
		}
		p.modifiers.readMember(key, value)
	})
	p.tier = p.modifiers.String()
	return whole
}

// Result implements Parser.
func (p *bedrockConverse) Result(bool) Result {
	return p.counts.result(p.exchange, p.ended)
}

// bedrockTier is what changes the price of a request, where the response says
// it, else the request.
type bedrockTier struct{ tier, latency string }

func (t *bedrockTier) readMember(key, value []byte) {
	switch string(key) {
	case "serviceTier":
		t.tier = cmp.Or(text(member(value, "type")), t.tier)
	case "performanceConfig":
		t.latency = cmp.Or(text(member(value, "latency")), t.latency)
	}
}

func (t *bedrockTier) String() string {
	switch {
	case t.latency == "" || t.latency == "standard":
		return t.tier
	case t.tier == "" || t.tier == "default":
		return t.latency
	}
	return t.tier + "+" + t.latency
}

// bedrockCounts are counts in Bedrock's words. They are disjoint: 22 of 22
// recorded totals are the sum of all four.
type bedrockCounts struct {
	named                bool
	input, output        int64
	read, write, write1h int64
}

// readUsage reads a usage object of Converse, which Amazon's own models use
// under InvokeModel too. See
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html.
func (c *bedrockCounts) readUsage(x *exchange, usage []byte) {
	fields(usage, func(key, value []byte) {
		switch name := string(key); name {
		case "inputTokens":
			c.named = x.count(&c.input, name, value) || c.named
		case "outputTokens":
			c.named = x.count(&c.output, name, value) || c.named
		case "cacheReadInputTokens", "cacheReadInputTokenCount":
			x.count(&c.read, name, value)
		case "cacheWriteInputTokens", "cacheWriteInputTokenCount":
			x.count(&c.write, name, value)
		case "cacheDetails":
			c.write1h = 0
			elements(value, func(detail []byte) {
				if text(member(detail, "ttl")) == "1h" {
					x.count(&c.write1h, "the cache's inputTokens", member(detail, "inputTokens"))
				}
			})
		}
	})
}

// usage returns the counts as a Usage.
func (c *bedrockCounts) usage() Usage {
	long := min(c.write1h, c.write)
	return Usage{Input: c.input, Output: c.output, CacheRead: c.read, CacheWrite5m: c.write - long, CacheWrite1h: long}
}

// result is the result of a response that these counts are all of.
func (c *bedrockCounts) result(x exchange, ended bool) Result {
	if !c.named {
		switch {
		case x.errorClass != "":
			return x.result(nil, false, "the provider answered with an error")
		case ended:
			return x.result(nil, false, "the provider sent no usage")
		}
		return x.result(nil, false, "the response broke off before its usage")
	}
	charges := []Charge{{Model: cmp.Or(x.model, x.requested), Usage: c.usage()}}
	return x.result(charges, ended, "the response broke off before its last count")
}
