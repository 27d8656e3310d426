package proxyedge

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Route is a base URL for clients that are told where a service is, rather
// than to use a proxy. With a Prefix of "/anthropic", the client's base URL is
//
//	http://127.0.0.1:8081/anthropic
//	http://127.0.0.1:8081/p/<project>/anthropic
//
// and what follows it is sent to the Target as it is spelt. The project goes
// to the daemon as [Chain.User].
type Route struct {
	// Prefix is the beginning of the path that belongs to the route, in
	// whole segments. The longest one that fits wins. Empty or "/": every
	// path, also one that begins with /p/. Any other begins with a slash.
	Prefix string

	// Target is an http or https URL; its path comes before the rest of
	// the request's. It may be on this machine, but not this edge itself.
	// A route whose Target or Prefix is not as said here is logged when the
	// edge begins, and matches nothing.
	Target *url.URL
}

// host is where the route leads, or why it leads nowhere.
func (r Route) host() (host string, port int, err error) {
	u := r.Target
	switch {
	case r.Prefix != "" && r.Prefix[0] != '/':
		return "", 0, fmt.Errorf("prefix %q does not begin with a slash", r.Prefix)
	case u == nil || u.Scheme != "http" && u.Scheme != "https":
		return "", 0, errors.New("target is no http or https URL")
	}
	return parseHost(u.Host, u.Scheme)
}

// target is where a request goes.
type target struct {
	scheme    string // "": origin form, so that a route decides
	authority string // as it is spelt, for Host
	host      string
	port      int
	path      string // as it is spelt, without the query
	route     bool   // a route's, so that its address is not the client's choice
}

// parseTarget parses a request target in origin or absolute form (RFC 9112
// section 3.2). Both http and https are taken in absolute form: some clients
// send that to a proxy where they ought to send CONNECT.
func parseTarget(s string) (target, error) {
	bad := malformed("malformed request target")
	if strings.Contains(s, "#") {
		return target{}, bad
	}
	rest, _, _ := strings.Cut(s, "?")
	if strings.HasPrefix(rest, "/") {
		return target{path: rest}, nil
	}
	scheme, rest, ok := strings.Cut(rest, "://")
	t := target{scheme: strings.ToLower(scheme)}
	if !ok || t.scheme != "http" && t.scheme != "https" {
		return target{}, bad
	}
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		t.path, rest = rest[i:], rest[:i]
	}
	t.authority = rest
	var err error
	t.host, t.port, err = parseHost(rest, t.scheme)
	return t, err
}

// parseHost parses an authority whose port may be left out.
func parseHost(authority, scheme string) (host string, port int, err error) {
	if strings.LastIndexByte(authority, ':') <= strings.LastIndexByte(authority, ']') {
		if scheme == "https" {
			authority += ":443"
		} else {
			authority += ":80"
		}
	}
	return parseAuthority(authority)
}

// match finds the route of a path, the project before it and the target.
func (e *Edge) match(path string) (t target, project string, ok bool) {
	inner := path
	if rest, found := strings.CutPrefix(path, "/p/"); found {
		segment, rest, _ := strings.Cut(rest, "/")
		project, inner = decodeUser(segment), "/"+rest
	}
	best := -1
	for _, r := range e.Routes {
		prefix, from := strings.TrimRight(r.Prefix, "/"), inner
		if prefix == "" {
			from = path
		}
		rest, fits := strings.CutPrefix(from, prefix)
		if !fits || rest != "" && rest[0] != '/' || len(prefix) <= best {
			continue
		}
		host, port, err := r.host()
		if err != nil {
			continue
		}
		u := r.Target
		best, ok = len(prefix), true
		t = target{scheme: u.Scheme, authority: u.Host, host: host, port: port, route: true}
		t.path = strings.TrimRight(u.EscapedPath(), "/") + rest
	}
	if best == 0 {
		project = ""
	}
	return t, project, ok
}

// decodeUser reads a project that a client has put into a URL. What cannot be
// read is none: it never fails a request.
func decodeUser(s string) string {
	if decoded, err := url.PathUnescape(s); err == nil {
		s = decoded
	}
	if len(s) > 256 || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return ""
	}
	return s
}

// isPrivate reports whether a field must not leave this machine: what belongs
// to the edge and the daemon, and what a client says to its proxy.
func isPrivate(name string) bool {
	return hasPrefixFold(name, "Halton-") || hasPrefixFold(name, "Proxy-")
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
