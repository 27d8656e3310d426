package provider

import (
	"net/http"
	"path"
	"slices"
	"strings"
)

// The wire formats.
const (
	// FormatAnthropicMessages is Anthropic's Messages API.
	FormatAnthropicMessages Format = "anthropic-messages"
	// FormatOpenAIChat is OpenAI's chat completions, and what shares its
	// usage object: completions and embeddings.
	FormatOpenAIChat Format = "openai-chat"
	// FormatOpenAIResponses is OpenAI's Responses API.
	FormatOpenAIResponses Format = "openai-responses"
)

// service is a provider's host and what it serves there, beneath prefix.
type service struct {
	provider string
	host     string
	prefix   string
	routes   []route
}

// route is one metered method and path. A "*" in the path stands for exactly
// one segment.
type route struct {
	method, path string
	format       Format
	kind         Kind
	retrieve     bool
}

// services is the table of everything metered. A provider that speaks a known
// format is one line here.
var services = []service{
	{"anthropic", "api.anthropic.com", "/v1", anthropicRoutes},
	{"openai", "api.openai.com", "/v1", openaiRoutes},
}

// anthropicRoutes leaves out messages/count_tokens, which is free.
var anthropicRoutes = []route{
	{method: http.MethodPost, path: "/messages", format: FormatAnthropicMessages, kind: KindChat},
}

var openaiRoutes = []route{
	{method: http.MethodPost, path: "/chat/completions", format: FormatOpenAIChat, kind: KindChat},
	{method: http.MethodPost, path: "/completions", format: FormatOpenAIChat, kind: KindChat},
	{method: http.MethodPost, path: "/embeddings", format: FormatOpenAIChat, kind: KindEmbedding},
	{method: http.MethodPost, path: "/responses", format: FormatOpenAIResponses, kind: KindChat},
	{method: http.MethodPost, path: "/responses/compact", format: FormatOpenAIResponses, kind: KindChat},
	// The answer to a background request names no usage; this one does.
	{method: http.MethodGet, path: "/responses/*", format: FormatOpenAIResponses, kind: KindChat, retrieve: true},
}

// Hosts returns the names of the metered hosts, sorted.
func Hosts() []string {
	var hosts []string
	for _, s := range services {
		hosts = append(hosts, s.host)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// IsMetered reports whether connections to host and port carry exchanges that
// may be metered.
func IsMetered(host string, port int) bool {
	if port != 443 {
		return false
	}
	host = canonicalHost(host)
	return slices.ContainsFunc(services, func(s service) bool { return s.host == host })
}

// Lookup finds the endpoint of a request. The host is without port; a query
// on the path is ignored.
func Lookup(method, host, urlPath string) (Endpoint, bool) {
	host = canonicalHost(host)
	urlPath, _, _ = strings.Cut(urlPath, "?")
	// A base URL that ends in a slash makes clients send "//v1/messages", and
	// the providers serve it.
	urlPath = path.Clean("/" + urlPath)
	for _, s := range services {
		rest, ok := strings.CutPrefix(urlPath, s.prefix)
		if s.host != host || !ok {
			continue
		}
		for _, r := range s.routes {
			if r.method == method && r.matches(rest) {
				return Endpoint{Provider: s.provider, Format: r.format, Kind: r.kind, Retrieve: r.retrieve}, true
			}
		}
	}
	return Endpoint{}, false
}

// matches reports whether the path fits the route's.
func (r route) matches(urlPath string) bool {
	prefix, wild := strings.CutSuffix(r.path, "*")
	if !wild {
		return urlPath == r.path
	}
	segment, ok := strings.CutPrefix(urlPath, prefix)
	return ok && segment != "" && !strings.Contains(segment, "/")
}

// canonicalHost folds the spellings of a host name that DNS holds equal.
func canonicalHost(host string) string {
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// NewParser returns a parser for one exchange at the endpoint. For a format
// that the package does not know, the parser finds no usage.
func (e Endpoint) NewParser() Parser {
	switch e.Format {
	case FormatAnthropicMessages:
		return &anthropicMessages{}
	case FormatOpenAIChat:
		return &openaiChat{}
	case FormatOpenAIResponses:
		return &openaiResponses{}
	}
	return &unknownFormat{}
}

// unknownFormat is the parser of an Endpoint that Lookup did not make.
type unknownFormat struct{ exchange }

func (p *unknownFormat) Request(body []byte)          { p.readRequest(body, nil) }
func (p *unknownFormat) Event(string, []byte)         {}
func (p *unknownFormat) Body(status int, body []byte) { p.readError(status, body) }
func (p *unknownFormat) Result(bool) Result {
	return p.result(nil, false, "the wire format is not known")
}
