package provider

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
)

// Table is what is metered: the built-in places, and hosts that the user
// adds. A nil Table is the built-in places alone. It does not change, and is
// safe for concurrent use.
type Table struct {
	added []Host
}

// Host is a host that the built-in places lack, and that speaks one of the
// known formats: a gateway, or a provider that is new.
type Host struct {
	// Name is its name in DNS, without a port. It is reached on port 443.
	Name string
	// Format is one of Formats: the paths that are metered are those that end
	// as the format's own do, whatever is before: /v1, /api/openai/v1. Of a
	// customer's host in a cloud that the package knows, such as
	// mine.cognitiveservices.azure.com, the cloud's paths are metered first.
	Format Format
	// Provider is the name under which rows are stored, and under which the
	// price book is asked; "" is the host's name.
	Provider string
	// BaseURL is a path beneath which an edge serves the host to clients that
	// take a base URL: "/corp". "" is none.
	BaseURL string
}

// formatRoutes are the places at which a format is spoken.
var formatRoutes = map[Format][]route{
	FormatAnthropicMessages: anthropicRoutes,
	FormatAnthropicBatch:    anthropicRoutes,
	FormatOpenAIChat:        openaiRoutes,
	FormatOpenAIResponses:   openaiRoutes,
	FormatOpenAIRealtime:    openaiRoutes,
	FormatGemini:            slices.Concat(geminiMethods("/models"), geminiMethods("/tunedModels"), codeAssistRoutes),
	FormatGeminiChat:        geminiChatRoutes,
	FormatBedrockConverse:   bedrockRoutes,
	FormatBedrockInvoke:     bedrockRoutes,
	FormatOllama:            ollamaRoutes,
	FormatCohere:            cohereRoutes,
}

var (
	hostName     = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	providerName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$`)
	basePath     = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$`)
)

// NewTable returns the built-in places with these hosts. The error names the
// host and what to write.
func NewTable(hosts ...Host) (*Table, error) {
	t := &Table{}
	for _, h := range hosts {
		h.Name = canonicalHost(h.Name)
		if err := t.check(h); err != nil {
			return nil, fmt.Errorf("host %q: %w", h.Name, err)
		}
		if h.Provider == "" {
			h.Provider = h.Name
		}
		t.added = append(t.added, h)
	}
	return t, nil
}

func (t *Table) check(h Host) error {
	switch {
	case !hostName.MatchString(h.Name) || len(h.Name) > 253 || net.ParseIP(h.Name) != nil:
		return errors.New("it is no name of a host: write one such as llm.example.com, without a port, a path or a *")
	case slices.ContainsFunc(services, func(s service) bool { return s.host == h.Name }), slices.Contains(azureDomains, h.Name):
		return errors.New("it is metered already")
	case slices.ContainsFunc(t.added, func(other Host) bool { return other.Name == h.Name }):
		return errors.New("it is named twice")
	case formatRoutes[h.Format] == nil:
		names := make([]string, 0, len(formatRoutes))
		for _, f := range Formats() {
			names = append(names, string(f))
		}
		return fmt.Errorf("format = %q is not known: write one of %s", h.Format, strings.Join(names, ", "))
	case h.Provider != "" && !providerName.MatchString(h.Provider):
		return fmt.Errorf("provider = %q is no name: write small letters and digits, such as acme", h.Provider)
	case h.BaseURL == "":
		return nil
	case !basePath.MatchString(h.BaseURL):
		return fmt.Errorf("base_url = %q is no path: write one such as /acme", h.BaseURL)
	}
	first := func(path string) string {
		path, _, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
		return path
	}
	for _, u := range t.BaseURLs() {
		if first(u.Prefix) == first(h.BaseURL) {
			return fmt.Errorf("base_url = %q begins as %s of %s does: write another one", h.BaseURL, u.Prefix, u.Host)
		}
	}
	if p := first(h.BaseURL); p == "p" {
		return fmt.Errorf("base_url = %q begins with a word that the edge needs: write another one", h.BaseURL)
	}
	return nil
}

// Hosts returns the names of the metered hosts, and the domains of which every
// host is, sorted: what a root has to vouch for.
func (t *Table) Hosts() []string {
	hosts := slices.Clone(azureDomains)
	for _, s := range services {
		if !strings.HasPrefix(s.host, "*.") {
			hosts = append(hosts, s.host)
		}
	}
	for _, h := range t.hosts() {
		hosts = append(hosts, h.Name)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// IsMetered reports whether connections to host and port carry exchanges that
// may be metered.
func (t *Table) IsMetered(host string, port int) bool {
	if port != 443 {
		return false
	}
	host = canonicalHost(host)
	return slices.ContainsFunc(services, func(s service) bool { return s.host == host }) ||
		slices.ContainsFunc(azureDomains, func(d string) bool { return service{host: "*." + d}.serves(host) }) ||
		slices.ContainsFunc(t.hosts(), func(h Host) bool { return h.Name == host })
}

// Lookup finds the endpoint of a request. The host is without port; a query
// on the path is ignored.
func (t *Table) Lookup(method, host, urlPath string) (Endpoint, bool) {
	host = canonicalHost(host)
	urlPath = cleanPath(urlPath)
	for _, s := range services {
		if !s.serves(host) {
			continue
		}
		if e, ok, decided := s.endpoint(method, urlPath); decided {
			return e, ok
		}
	}
	for _, h := range t.hosts() {
		if h.Name == host {
			return h.lookup(method, urlPath)
		}
	}
	return Endpoint{}, false
}

// maxPrefix bounds the segments before those of a format's own path.
const maxPrefix = 8

// lookup finds a place of the host's format at the end of the path.
func (h Host) lookup(method, urlPath string) (Endpoint, bool) {
	s := service{provider: h.Provider, host: h.Name, routes: formatRoutes[h.Format]}
	for range maxPrefix {
		if e, ok, decided := s.endpoint(method, urlPath); decided {
			return e, ok
		}
		next := strings.IndexByte(urlPath[1:], '/')
		if next < 0 {
			break
		}
		urlPath = urlPath[1+next:]
	}
	return Endpoint{}, false
}

// BaseURLs returns the table of base URLs.
func (t *Table) BaseURLs() []BaseURL {
	urls := slices.Clone(baseURLs)
	for _, h := range t.hosts() {
		if h.BaseURL != "" {
			urls = append(urls, BaseURL{Prefix: h.BaseURL, Host: h.Name})
		}
	}
	return urls
}

// Added returns the hosts that the user added.
func (t *Table) Added() []Host { return slices.Clone(t.hosts()) }

func (t *Table) hosts() []Host {
	if t == nil {
		return nil
	}
	return t.added
}

// builtIn is the table without additions.
var builtIn *Table

// Hosts is Table.Hosts of the built-in places.
func Hosts() []string { return builtIn.Hosts() }

// IsMetered is Table.IsMetered of the built-in places.
func IsMetered(host string, port int) bool { return builtIn.IsMetered(host, port) }

// Lookup is Table.Lookup in the built-in places.
func Lookup(method, host, urlPath string) (Endpoint, bool) {
	return builtIn.Lookup(method, host, urlPath)
}

// BaseURLs is Table.BaseURLs of the built-in places.
func BaseURLs() []BaseURL { return builtIn.BaseURLs() }
