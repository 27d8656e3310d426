package provider

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

// The wire formats.
const (
	// FormatAnthropicMessages is Anthropic's Messages API.
	FormatAnthropicMessages Format = "anthropic-messages"
	// FormatAnthropicBatch is the results of Anthropic's Message Batches.
	FormatAnthropicBatch Format = "anthropic-batch"
	// FormatOpenAIChat is OpenAI's chat completions, and what has its usage
	// at the same place: completions, embeddings, images and audio.
	FormatOpenAIChat Format = "openai-chat"
	// FormatOpenAIResponses is OpenAI's Responses API.
	FormatOpenAIResponses Format = "openai-responses"
	// FormatOpenAIRealtime is OpenAI's Realtime API.
	FormatOpenAIRealtime Format = "openai-realtime"
	// FormatGemini is Gemini's generateContent and embedContent, and the
	// same inside Code Assist's envelope.
	FormatGemini Format = "gemini"
	// FormatGeminiChat is Gemini behind OpenAI's chat completions, where
	// only the total tells of reasoning.
	FormatGeminiChat Format = "gemini-openai-chat"
	// FormatBedrockConverse is Amazon Bedrock's Converse API.
	FormatBedrockConverse Format = "bedrock-converse"
	// FormatBedrockInvoke is Amazon Bedrock's InvokeModel API: the model's
	// own format, in Bedrock's envelope where it is streamed.
	FormatBedrockInvoke Format = "bedrock-invoke"
	// FormatOllama is Ollama's own API.
	FormatOllama Format = "ollama"
	// FormatCohere is Cohere's chat and embed APIs, in version 2 and 1.
	FormatCohere Format = "cohere"
)

// unmetered is the format of a route that keeps a later one from matching.
const unmetered Format = ""

// Formats returns the names of all formats that NewParser knows, sorted.
func Formats() []Format {
	return []Format{
		FormatAnthropicBatch, FormatAnthropicMessages, FormatBedrockConverse, FormatBedrockInvoke, FormatCohere, FormatGemini,
		FormatGeminiChat, FormatOllama, FormatOpenAIChat, FormatOpenAIRealtime, FormatOpenAIResponses,
	}
}

// NewParser returns a parser for one exchange at the endpoint. For a format
// that the package does not know, the parser finds no usage.
func (e Endpoint) NewParser() Parser {
	x := exchange{requested: e.Model, stream: e.Stream}
	switch e.Format {
	case FormatAnthropicMessages:
		return &anthropicMessages{exchange: x}
	case FormatAnthropicBatch:
		return &anthropicBatch{exchange: x}
	case FormatOpenAIChat:
		return &openaiChat{exchange: x}
	case FormatOpenAIResponses, FormatOpenAIRealtime:
		return &openaiResponses{exchange: x}
	case FormatGemini:
		return &gemini{exchange: x}
	case FormatGeminiChat:
		return &openaiChat{exchange: x, hiddenReasoning: true}
	case FormatBedrockConverse:
		return &bedrockConverse{exchange: x}
	case FormatBedrockInvoke:
		return newBedrockInvoke(x)
	case FormatOllama:
		return &ollama{exchange: x}
	case FormatCohere:
		return &cohere{exchange: x}
	}
	return &unknownFormat{x}
}

// unknownFormat is the parser of an Endpoint that Lookup did not make.
type unknownFormat struct{ exchange }

func (p *unknownFormat) Request(body []byte)          { p.readRequest(body, nil) }
func (p *unknownFormat) Event(string, []byte)         {}
func (p *unknownFormat) Body(status int, body []byte) { p.readError(status, body) }
func (p *unknownFormat) Result(bool) Result {
	return p.result(nil, false, "the wire format is not known")
}

// service is a provider's host and what it serves there, beneath prefix. A
// host that begins with "*." stands for names that nobody can list, such as
// those of a cloud's customers: Hosts has its domain, if all of that is metered.
type service struct {
	provider, host, prefix string
	routes                 []route
}

// route is one metered method and path. In each segment of the path a "*"
// stands for any text, and "{model}" for the model's name.
type route struct {
	method, path string
	format       Format
	kind         Kind
	retrieve     bool
	stream       bool
	socket       bool
}

// cleanPath is the path without its query. A base URL that ends in a slash
// makes clients send "//v1/messages", and the providers serve it.
func cleanPath(urlPath string) string {
	urlPath, _, _ = strings.Cut(urlPath, "?")
	return path.Clean("/" + urlPath)
}

// endpoint finds the service's place for a request. It is decided, and may be
// that nothing is metered there, if a route fits.
func (s service) endpoint(method, urlPath string) (e Endpoint, metered, decided bool) {
	for _, r := range s.routes {
		// Methods are case-sensitive (RFC 9110, section 9.1), but there are
		// clients that send "post", and providers that answer them.
		if !strings.EqualFold(r.method, method) {
			continue
		}
		model, ok := matchPath(s.prefix+r.path, urlPath)
		if !ok {
			continue
		}
		if r.format == unmetered {
			return Endpoint{}, false, true
		}
		return Endpoint{
			Provider: s.provider, Format: r.format, Kind: r.kind,
			Retrieve: r.retrieve, Model: model, Stream: r.stream, Socket: r.socket,
		}, true, true
	}
	return Endpoint{}, false, false
}

// serves reports whether host is the service's.
func (s service) serves(host string) bool {
	domain, wild := strings.CutPrefix(s.host, "*")
	if !wild {
		return s.host == host
	}
	name, ok := strings.CutSuffix(host, domain)
	return ok && name != "" && !strings.Contains(name, ".")
}

// matchPath compares a path with a pattern, segment by segment, and returns
// the model that it names.
func matchPath(pattern, urlPath string) (model string, ok bool) {
	for {
		var want, got string
		want, pattern, _ = strings.Cut(strings.TrimPrefix(pattern, "/"), "/")
		got, urlPath, _ = strings.Cut(strings.TrimPrefix(urlPath, "/"), "/")
		named := strings.Contains(want, "{model}")
		before, after, wild := strings.Cut(strings.Replace(want, "{model}", "*", 1), "*")
		if wild {
			text, isPrefixed := strings.CutPrefix(got, before)
			text, isSuffixed := strings.CutSuffix(text, after)
			// "/v1*" is "/v1" too; a name is never empty.
			if !isPrefixed || !isSuffixed || text == "" && (named || before == "") {
				return "", false
			}
			if named {
				model = pathText(text)
			}
		} else if want != got {
			return "", false
		}
		if pattern == "" || urlPath == "" {
			return model, pattern == urlPath
		}
	}
}

// pathText is the text of a path's segment, "" if it is not fit to be shown.
func pathText(segment string) string {
	s, err := url.PathUnescape(segment)
	if err != nil || !printable(s) {
		return ""
	}
	return s
}

// canonicalHost folds the spellings of a host name that DNS holds equal.
func canonicalHost(host string) string {
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func post(urlPath string, format Format, kind Kind) route {
	return route{method: http.MethodPost, path: urlPath, format: format, kind: kind}
}
