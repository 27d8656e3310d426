package provider

import "cmp"

// maxIterations bounds the turns that one message may consist of.
const maxIterations = 1024

// anthropicUsage is the usage of a message, merged from all that named it.
type anthropicUsage struct {
	anthropicCounts
	// iterations are the turns inside the message, where it has several:
	//
	//	message           in the top level's counts already
	//	compaction        billed at the message's model, not in the top level
	//	advisor_message   billed at its own model, not in the top level
	//	fallback_message  another model answered instead; the top level is
	//	                  what it used
	iterations []anthropicIteration
}

// anthropicIteration is one turn inside a message.
type anthropicIteration struct {
	kind, model string
	anthropicCounts
}

// anthropicCounts are the counts of a usage object. Input, cache reads and
// cache writes are disjoint already.
type anthropicCounts struct {
	named                       bool
	input, output, thinking     int64
	cacheRead, cacheWrite       int64
	cacheWrite5m, cacheWrite1h  int64
	hasCacheWrite, hasLifetimes bool
	webSearches                 int64
	tier, speed, geo            string
	cost                        costParts
}

// read merges the usage object into what is known: a member that it names
// replaces, one that it leaves out, or that is null, stays.
func (u *anthropicUsage) read(x *exchange, usage []byte) {
	fields(usage, func(key, value []byte) {
		if string(key) != "iterations" {
			u.readMember(x, key, value)
			return
		}
		u.iterations = nil
		elements(value, func(turn []byte) {
			if len(u.iterations) == maxIterations {
				x.doubt("the usage has too many iterations")
				return
			}
			var it anthropicIteration
			fields(turn, func(key, value []byte) {
				switch string(key) {
				case "type":
					it.kind = text(value)
				case "model":
					it.model = text(value)
				default:
					it.readMember(x, key, value)
				}
			})
			u.iterations = append(u.iterations, it)
		})
	})
	if cost := u.cost.total(); cost != nil {
		x.reported = cost
	}
	u.cost = costParts{} // it points into the event
}

func (c *anthropicCounts) readMember(x *exchange, key, value []byte) {
	switch string(key) {
	case "input_tokens":
		c.named = x.count(&c.input, "input_tokens", value) || c.named
	case "output_tokens":
		c.named = x.count(&c.output, "output_tokens", value) || c.named
	case "cache_read_input_tokens":
		x.count(&c.cacheRead, "cache_read_input_tokens", value)
	case "cache_creation_input_tokens":
		c.hasCacheWrite = x.count(&c.cacheWrite, "cache_creation_input_tokens", value) || c.hasCacheWrite
	case "cache_creation":
		short, long := member(value, "ephemeral_5m_input_tokens"), member(value, "ephemeral_1h_input_tokens")
		c.hasLifetimes = x.count(&c.cacheWrite5m, "ephemeral_5m_input_tokens", short) || c.hasLifetimes
		c.hasLifetimes = x.count(&c.cacheWrite1h, "ephemeral_1h_input_tokens", long) || c.hasLifetimes
	case "output_tokens_details":
		x.count(&c.thinking, "thinking_tokens", member(value, "thinking_tokens"))
	case "server_tool_use":
		// Web fetches are counted there too, and free.
		x.count(&c.webSearches, "web_search_requests", member(value, "web_search_requests"))
	case "service_tier":
		c.tier = cmp.Or(text(value), c.tier)
	case "speed":
		c.speed = cmp.Or(text(value), c.speed)
	case "inference_geo":
		c.geo = cmp.Or(text(value), c.geo)
	default:
		c.cost.readMember(key, value)
	}
}

// cacheWrites splits the cache writes by lifetime. A message_delta repeats
// the total and not the split, so the split may be older than the total: what
// the total has grown by since was written at the default lifetime, 5 minutes.
func (c *anthropicCounts) cacheWrites() (short, long int64) {
	switch {
	case !c.hasLifetimes:
		return c.cacheWrite, 0
	case !c.hasCacheWrite:
		return c.cacheWrite5m, c.cacheWrite1h
	}
	long = min(c.cacheWrite1h, c.cacheWrite)
	return c.cacheWrite - long, long
}

// tokens returns the counts as a Usage.
func (c *anthropicCounts) tokens() Usage {
	u := Usage{Input: c.input, CacheRead: c.cacheRead, Output: c.output, Thinking: min(c.thinking, c.output)}
	u.CacheWrite5m, u.CacheWrite1h = c.cacheWrites()
	u.addToolCalls("web_search", c.webSearches)
	return u
}

// servedModel is the model of the top level's counts, where the message itself
// names model.
func (u *anthropicUsage) servedModel(model string) string {
	for _, it := range u.iterations {
		if it.kind == "fallback_message" {
			model = cmp.Or(it.model, model)
		}
	}
	return model
}

// charges takes the usage apart by what is billed at a model, and a prompt, of
// its own; model is what served the top level.
func (u *anthropicUsage) charges(model string) []Charge {
	if !u.named {
		return nil
	}
	top := u.tokens()
	var turns anthropicCounts // the turns that the top level is the sum of
	fallback := false
	for _, it := range u.iterations {
		switch it.kind {
		case "message":
			short, long := it.cacheWrites()
			turns.cacheWrite += short + long
			turns.cacheWrite1h += long
		case "fallback_message":
			fallback = true
		}
	}
	// The turns bear the split even where a delta's top level lacks it.
	if !fallback && len(u.iterations) > 0 && turns.cacheWrite == top.CacheWrite5m+top.CacheWrite1h {
		top.CacheWrite5m, top.CacheWrite1h = turns.cacheWrite-turns.cacheWrite1h, turns.cacheWrite1h
	}
	charges := []Charge{{Model: model, Usage: top}}
	for _, it := range u.iterations {
		switch {
		case it.kind == "advisor_message":
			charges = addCharge(charges, it.model, it.tokens())
		case it.kind == "compaction" && !fallback:
			charges = addCharge(charges, cmp.Or(it.model, model), it.tokens())
		}
	}
	return charges
}
