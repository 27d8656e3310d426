package shellenv

import (
	"net/url"
	"slices"
	"strings"
)

// BaseURL is one variable that SDKs take a provider's address from.
type BaseURL struct {
	Variable string // "OPENAI_BASE_URL"
	Path     string // beneath the edge: "/openai/v1"
	Host     string // the provider's own: "api.openai.com"
}

// BaseURLs is an environment that leads SDKs to the edge without a proxy.
type BaseURLs struct {
	// Edge is the edge's address, "127.0.0.1:8081".
	Edge string
	// Project goes into the path; "" for none.
	Project string
	URLs    []BaseURL
}

// Apply returns env with the variables in place of what they said before. One
// that names another server than the provider's own stays: the program is
// meant to use that one, which is none of ours.
func (b BaseURLs) Apply(env []string) []string {
	prefix := "http://" + b.Edge
	if b.Project != "" {
		prefix += "/p/" + url.PathEscape(b.Project)
	}
	out := slices.Clone(env)
	for _, u := range b.URLs {
		if v := value(env, u.Variable); v != "" && !names(v, b.Edge) && !names(v, u.Host) {
			continue
		}
		out = slices.DeleteFunc(out, func(kv string) bool { return strings.HasPrefix(kv, u.Variable+"=") })
		out = append(out, u.Variable+"="+prefix+u.Path)
	}
	return out
}

// names reports whether a URL's authority is host.
func names(base, host string) bool {
	u, err := url.Parse(base)
	return err == nil && strings.EqualFold(u.Host, host)
}
