package provider

// openaiUsage reads the usage object of OpenAI's APIs. Chat, completions and
// embeddings say prompt_tokens and completion_tokens, Responses says
// input_tokens and output_tokens; otherwise they agree: what was read from the
// cache, or written to it, is a part of the prompt, and reasoning is a part of
// the output. Its second result reports whether the object names a count.
//
// See https://platform.openai.com/docs/api-reference/chat/object and
// https://platform.openai.com/docs/guides/prompt-caching.
func openaiUsage(x *exchange, object []byte) (Usage, bool) {
	var (
		prompt, output, total     int64
		read, write               int64
		reasoning                 int64
		audioIn, audioOut, cached int64
		named, hasTotal           bool
	)
	fields(object, func(key, value []byte) {
		switch string(key) {
		case "prompt_tokens", "input_tokens":
			named = x.count(&prompt, string(key), value) || named
		case "completion_tokens", "output_tokens":
			named = x.count(&output, string(key), value) || named
		case "total_tokens":
			hasTotal = x.count(&total, "total_tokens", value)
		case "prompt_tokens_details", "input_tokens_details":
			fields(value, func(key, value []byte) {
				switch string(key) {
				case "cached_tokens":
					x.count(&read, "cached_tokens", value)
				case "cache_write_tokens":
					x.count(&write, "cache_write_tokens", value)
				case "audio_tokens":
					x.count(&audioIn, "audio_tokens", value)
				case "cached_tokens_details":
					x.count(&cached, "cached audio_tokens", member(value, "audio_tokens"))
				}
			})
		case "completion_tokens_details", "output_tokens_details":
			fields(value, func(key, value []byte) {
				switch string(key) {
				case "reasoning_tokens":
					x.count(&reasoning, "reasoning_tokens", value)
				case "audio_tokens":
					x.count(&audioOut, "audio_tokens", value)
				}
			})
		}
	})
	// xAI's chat counts reasoning beside the completion; the total tells
	// which of the two it is.
	if hasTotal && reasoning > 0 && total == prompt+output+reasoning {
		output += reasoning
	}
	// Azure's Grok and DeepSeek report more cached tokens than prompt tokens:
	// there the cache is beside the prompt.
	fresh := prompt
	if read+write <= prompt {
		fresh = prompt - read - write
	}
	u := Usage{
		Input:            fresh,
		CacheRead:        read,
		CacheWrite5m:     write,
		Output:           output,
		Thinking:         min(reasoning, output),
		CachedAudioInput: min(cached, read),
		AudioOutput:      min(audioOut, output),
	}
	u.AudioInput = max(0, audioIn-u.CachedAudioInput)
	if u.AudioInput > u.Input || u.AudioInput > 0 && u.CachedAudioInput == 0 && read > 0 {
		x.doubt("the usage does not tell how much of the audio was cached")
		u.AudioInput = min(u.AudioInput, u.Input)
	}
	return u, named
}
