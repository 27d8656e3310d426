// Package provider knows the LLM providers' wire formats: which host and path
// speak which format, and how to read the billed usage out of an exchange.
//
// It is pure: bytes in, a Result out; no clock, no network, no files. Lookup
// finds the Endpoint of a request, Endpoint.NewParser a Parser for one
// exchange; the parser is fed the request body and then either whole bodies
// or stream events, and asked for the Result at the end, however the exchange
// ended. At an endpoint that is a WebSocket, a Dialog takes the messages and
// makes a Parser for each response in them.
//
// The rules behind each format are stated beside the code that applies them.
package provider

import "encoding/json"

// Kind is what an exchange was for.
type Kind string

// The kinds of exchange.
const (
	KindChat      Kind = "chat"
	KindEmbedding Kind = "embedding"
	KindImage     Kind = "image"
	KindAudio     Kind = "audio"
	KindOther     Kind = "other"
)

// Mode is how the provider served, and bills, an exchange. Whether it was
// streamed is not part of it.
type Mode string

// The modes of an exchange.
const (
	ModeStandard Mode = "standard"
	ModeThinking Mode = "thinking"
	ModeBatch    Mode = "batch"
)

// Format names a wire format, as the adapters and the configuration spell it.
type Format string

// Endpoint is one metered place: a provider, the format that it speaks there
// and what it is for.
type Endpoint struct {
	// Provider is the name under which rows are stored: "anthropic", "openai".
	Provider string
	Format   Format
	Kind     Kind
	// Retrieve marks a place that shows a response which an earlier request
	// made. Its usage was billed once, to whoever made it: a row with the
	// same ResponseID that already bears usage must not be joined by another.
	Retrieve bool
	// Model is the model that the path names, "" if it names none.
	Model string
	// Stream reports whether the path asks for a stream.
	Stream bool
	// Socket marks a place that is spoken to over a WebSocket: what is metered
	// there is not the request but each response, which NewDialog's Dialog
	// finds. Without an upgrade it is not metered.
	Socket bool
}

// Usage is what an exchange consumed, in tokens, in disjoint buckets: each
// token is in exactly one of Input, CacheRead, CacheWrite5m, CacheWrite1h and
// Output. Providers count in overlapping ways; the parsers take them apart.
type Usage struct {
	// Input is prompt tokens that were neither read from nor written to a cache.
	Input int64
	// CacheRead is prompt tokens read from the provider's cache.
	CacheRead int64
	// CacheWrite5m is prompt tokens written to the cache at the short (or
	// only) lifetime.
	CacheWrite5m int64
	// CacheWrite1h is prompt tokens written to the cache for an hour.
	CacheWrite1h int64
	// Output is all billed output, including reasoning.
	Output int64

	// Thinking is the part of Output that was reasoning, where the provider
	// tells it. It is information, never billed again.
	Thinking int64
	// AudioInput, CachedAudioInput and AudioOutput are the parts of Input,
	// CacheRead and Output that were audio, which has prices of its own.
	AudioInput, CachedAudioInput, AudioOutput int64
	// ImageInput, CachedImageInput and ImageOutput are the parts that were
	// images, or documents read as images; VideoInput and VideoOutput those
	// that were video. No token is in two of these parts.
	ImageInput, CachedImageInput, ImageOutput, VideoInput, VideoOutput int64
	// ByModality reports whether the provider told what images and video
	// there were: without it their counts of zero are not knowledge.
	ByModality bool

	// ToolCalls counts charges per call, such as "web_search". Nil if none.
	ToolCalls map[string]int64
}

// Prompt is all tokens of the prompt; it chooses the price tier.
func (u Usage) Prompt() int64 {
	return u.Input + u.CacheRead + u.CacheWrite5m + u.CacheWrite1h
}

// Charge is usage billed at one model's price. Most exchanges have one; an
// Anthropic advisor's turn is billed at another model than the message.
type Charge struct {
	Model string
	Usage Usage
	// Longest is the longest prompt of several requests that are summed up
	// here; 0 is Usage.Prompt, of one.
	Longest int64 `json:",omitempty"`
}

// Prompt is the length of the prompt that chooses the charge's price tier.
func (c Charge) Prompt() int64 {
	if c.Longest > 0 {
		return c.Longest
	}
	return c.Usage.Prompt()
}

// Result is all that an exchange's bytes say about its cost.
type Result struct {
	// Model is the served model if the response names one, else the
	// requested one, else "".
	Model string
	// RequestedModel is the model that the request names.
	RequestedModel string
	// Stream reports whether the request asked for a stream.
	Stream bool
	Mode   Mode
	// Tier is the service tier (or speed) that the response names, else the
	// request: "default", "priority", "flex", "batch", "fast"… or "". Where
	// several price modifiers meet they are joined, in this order:
	// "batch+fast+us" is the batch tier at fast speed, served in the US.
	Tier string

	// Usage is the sum over Charges, nil if the exchange named no usage.
	Usage *Usage
	// Charges says at which model each part of Usage is billed.
	Charges []Charge
	// Complete reports whether Usage is final. It is false if the response
	// named no usage, or if it ended before its last count.
	Complete bool
	// Reason says why Complete is false or Usage is nil.
	Reason string

	// RawUsage is the provider's own usage object, as last seen.
	RawUsage json.RawMessage
	// ReportedCost is the cost that the provider names, nil if it names none.
	ReportedCost *ReportedCost
	// ResponseID is the provider's id of the response.
	ResponseID string

	// Prefetch reports that the request had the provider read the prompt ahead
	// of its use, and was billed nothing: there is nothing to book.
	Prefetch bool

	// ErrorClass is one of the seven classes of ClassifyError, "" if the
	// body tells no error; ErrorCode is the provider's own code.
	ErrorClass, ErrorCode string
}

// Parser reads the usage out of one exchange. It is not safe for concurrent
// use and never panics, whatever it is fed.
type Parser interface {
	// Request takes the request's body, decompressed; it may be cut.
	Request(body []byte)
	// Event takes one event of a streamed response: its name ("" if it has
	// none) and its data.
	Event(name string, data []byte)
	// Body takes the whole body of a response that is not a stream.
	Body(status int, body []byte)
	// Result is what is known so far. eof reports whether the response
	// ended as HTTP says it must; a cut response has incomplete usage.
	Result(eof bool) Result
}
