package provider

// openaiUsage reads the usage object of OpenAI's APIs, and of the many that
// copy them. Chat, completions and embeddings say prompt_tokens and
// completion_tokens, Responses, images and transcriptions say input_tokens and
// output_tokens; otherwise they agree: what was read from the cache, or
// written to it, is a part of the prompt, and reasoning is a part of the
// output. Its second result reports whether the object names a count.
//
// See https://platform.openai.com/docs/api-reference/chat/object and
// https://platform.openai.com/docs/guides/prompt-caching.
func openaiUsage(x *exchange, object []byte) (Usage, bool) {
	var c openaiCounts
	fields(object, func(key, value []byte) { c.readMember(x, key, value) })
	x.reported = c.cost.total()
	return c.usage(x), c.named
}

// openaiCounts are the counts of a usage object as they stand there.
type openaiCounts struct {
	named, hasTotal       bool
	prompt, output, total int64
	read, write           int64
	hasRead               bool
	reasoning             int64
	in, inCached, out     modalities
	// images: the usage is in the words of the images API.
	images, imagesIn, detailsOut bool
	// cachedTold: the details say of what the cached tokens were.
	cachedTold bool
	calls      map[string]int64
	cost       costParts
}

func (c *openaiCounts) readMember(x *exchange, key, value []byte) {
	switch name := string(key); name {
	case "prompt_tokens", "input_tokens":
		c.named = x.count(&c.prompt, name, value) || c.named
	case "completion_tokens", "output_tokens":
		c.named = x.count(&c.output, name, value) || c.named
	case "total_tokens":
		c.hasTotal = x.count(&c.total, name, value)
	case "prompt_tokens_details", "input_tokens_details", "input_token_details":
		c.images = name == "input_tokens_details"
		fields(value, func(key, value []byte) { c.readPrompt(x, key, value) })
	case "completion_tokens_details", "output_tokens_details", "output_token_details":
		c.detailsOut = true
		fields(value, func(key, value []byte) {
			switch string(key) {
			case "reasoning_tokens":
				x.count(&c.reasoning, "reasoning_tokens", value)
			case "audio_tokens":
				x.count(&c.out.audio, "audio_tokens", value)
			case "image_tokens":
				x.count(&c.out.image, "image_tokens", value)
			}
		})
	case "num_cached_tokens", "prompt_cache_hit_tokens", "cached_tokens":
		// Mistral's, DeepSeek's and Moonshot's own names for the same count;
		// they have come to say prompt_tokens_details too.
		if !c.hasRead {
			x.count(&c.read, name, value)
		}
	case "server_tool_use", "server_tool_use_details":
		c.readCalls(x, value, openrouterCalls)
	case "server_side_tool_usage_details":
		c.readCalls(x, value, xaiCalls)
	case "num_sources_used":
		c.readCall(x, "live_search_source", value)
	default:
		c.cost.readMember(key, value)
	}
}

func (c *openaiCounts) readPrompt(x *exchange, key, value []byte) {
	switch string(key) {
	case "cached_tokens":
		c.hasRead = x.count(&c.read, "cached_tokens", value) || c.hasRead
	case "cache_write_tokens":
		x.count(&c.write, "cache_write_tokens", value)
	case "audio_tokens":
		x.count(&c.in.audio, "audio_tokens", value)
	case "image_tokens":
		c.imagesIn = x.count(&c.in.image, "image_tokens", value) || c.imagesIn
	case "cached_tokens_details":
		c.cachedTold = x.count(&c.inCached.audio, "cached audio_tokens", member(value, "audio_tokens"))
		x.count(&c.inCached.image, "cached image_tokens", member(value, "image_tokens"))
	}
}

// openrouterCalls and xaiCalls name the calls that a provider counts, and
// bills, itself. See https://openrouter.ai/docs/features/web-search and
// https://docs.x.ai/developers/pricing.
var (
	openrouterCalls = map[string]string{"web_search_requests": "web_search"}
	xaiCalls        = map[string]string{
		"web_search_calls":       "web_search",
		"x_search_calls":         "x_search",
		"code_interpreter_calls": "code_execution",
		"file_search_calls":      "file_search",
		"document_search_calls":  "document_search",
	}
)

func (c *openaiCounts) readCalls(x *exchange, object []byte, names map[string]string) {
	fields(object, func(key, value []byte) {
		if name, ok := names[string(key)]; ok {
			c.readCall(x, name, value)
		}
	})
}

// readCall notes how many calls there were; the object may say none, which is
// an answer too.
func (c *openaiCounts) readCall(x *exchange, name string, value []byte) {
	var n int64
	if !x.count(&n, name+" calls", value) {
		return
	}
	if c.calls == nil {
		c.calls = make(map[string]int64)
	}
	c.calls[name] = n
}

// usage takes the counts apart.
func (c *openaiCounts) usage(x *exchange) Usage {
	output := c.output
	switch {
	// xAI's chat counts reasoning beside the completion; the total tells
	// which of the two it is.
	case c.hasTotal && c.reasoning > 0 && c.total == c.prompt+c.output+c.reasoning:
		output += c.reasoning
	case c.reasoning > c.output:
		// Seen at gateways that mend the provider's counts. What was billed
		// is not to be learnt from such an object.
		x.doubt("the usage names more reasoning than output")
	}
	// Azure's Grok and DeepSeek report more cached tokens than prompt tokens:
	// there the cache is beside the prompt.
	fresh := c.prompt
	if c.read+c.write <= c.prompt {
		fresh = c.prompt - c.read - c.write
	}
	u := Usage{
		Input:        fresh,
		CacheRead:    c.read,
		CacheWrite5m: c.write,
		Output:       output,
		Thinking:     min(c.reasoning, output),
	}
	if c.imagesIn && c.images && !c.detailsOut {
		// The images API tells the output apart only where it may be text.
		c.out.image = output
	}
	c.inCached.fit(c.read)
	in := c.in.minus(c.inCached)
	// The cache's part is told by modality too, or it may be any of them.
	lost := in.fit(fresh) || in != (modalities{}) && !c.cachedTold && c.inCached == (modalities{}) && c.read > 0
	if lost && in.audio > 0 {
		x.doubt("the usage does not tell how much of the audio was cached")
	}
	u.ByModality = c.imagesIn && !lost
	c.out.fit(output)
	u.AudioInput, u.ImageInput = in.audio, in.image
	u.CachedAudioInput, u.CachedImageInput = c.inCached.audio, c.inCached.image
	u.AudioOutput, u.ImageOutput = c.out.audio, c.out.image
	for name, n := range c.calls {
		u.addToolCalls(name, n)
	}
	return u
}
