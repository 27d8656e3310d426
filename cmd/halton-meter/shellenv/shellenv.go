// Package shellenv is the environment that leads a program's traffic through
// the edge.
package shellenv

import (
	"net/url"
	"slices"
	"strings"
)

// Settings is what the environment must say.
type Settings struct {
	// Edge is the edge's address, "127.0.0.1:8081".
	Edge string
	// Project goes into the proxy's URL as its user; "" for none.
	Project string
	// Bundle is the trust bundle's path.
	Bundle string
	// BundleVariables are the names that get it.
	BundleVariables []string
	// Node has Node follow the proxy variables, where nothing says whether it
	// should. Node 22 tells on standard error that this is experimental, so it
	// is for programs that somebody wants metered, not for all of them.
	Node bool
}

// ProxyURL is the edge as programs want a proxy named. The password is there
// because some clients send no credentials without one; nobody reads it.
func (s Settings) ProxyURL() string {
	u := url.URL{Scheme: "http", Host: s.Edge}
	if s.Project != "" {
		u.User = url.UserPassword(s.Project, "x")
	}
	return u.String()
}

// loopback is never reached through a proxy.
var loopback = []string{"localhost", "127.0.0.1", "::1"}

// nodeUseEnvProxy has Node follow the proxy variables, from Node 22.21 and 24
// on; before that only programs that bring their own proxy agent do.
// https://nodejs.org/api/cli.html#node_use_env_proxy1
const nodeUseEnvProxy = "NODE_USE_ENV_PROXY"

// Apply returns env (as os.Environ gives it) with the settings in place of
// what it said before. What the user excluded from proxies stays excluded.
//
// HTTP_PROXY is left alone: providers are reached over TLS, and a plain-HTTP
// request to anything else is none of the meter's business.
func (s Settings) Apply(env []string) []string {
	set := s.Variables(env)
	var out []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if _, ours := set[name]; !ours {
			out = append(out, kv)
		}
	}
	names := make([]string, 0, len(set))
	for name := range set {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		out = append(out, name+"="+set[name])
	}
	return out
}

// Variables are the settings by name. They keep what env excludes from
// proxies, and what it tells Node.
func (s Settings) Variables(env []string) map[string]string {
	set := map[string]string{
		"HTTPS_PROXY": s.ProxyURL(),
		// curl and others prefer the lower-case name, so an old value there
		// would win.
		"https_proxy": s.ProxyURL(),
	}
	for _, name := range s.BundleVariables {
		set[name] = s.Bundle
	}
	// As with the proxy itself, the lower-case name is the one that counts
	// where both are set.
	exclude := value(env, "no_proxy")
	if exclude == "" {
		exclude = value(env, "NO_PROXY")
	}
	set["NO_PROXY"] = withLoopback(exclude)
	set["no_proxy"] = set["NO_PROXY"]
	// With it Node would follow the user's HTTP_PROXY as well, which it did not
	// do before.
	if s.Node && value(env, nodeUseEnvProxy) == "" && value(env, "HTTP_PROXY") == "" && value(env, "http_proxy") == "" {
		set[nodeUseEnvProxy] = "1"
	}
	return set
}

func isProxyVariable(name string) bool { return strings.EqualFold(name, "HTTPS_PROXY") }

// leadsToEdge reports whether a proxy's URL names the edge, under whichever
// project.
func (s Settings) leadsToEdge(proxy string) bool {
	u, err := url.Parse(proxy)
	return err == nil && u.Host == s.Edge
}

func withLoopback(list string) string {
	var hosts []string
	for h := range strings.SplitSeq(list, ",") {
		if h = strings.TrimSpace(h); h != "" {
			hosts = append(hosts, h)
		}
	}
	for _, h := range loopback {
		if !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	return strings.Join(hosts, ",")
}

func value(env []string, name string) string {
	for _, kv := range slices.Backward(env) {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}
