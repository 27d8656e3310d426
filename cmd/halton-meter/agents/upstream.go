package agents

import (
	"net/url"
	"strconv"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/upstream"
)

// IsOurs reports whether a proxy's URL names our edge.
func IsOurs(p Paths, u *url.URL) bool {
	switch u.Hostname() {
	case "127.0.0.1", "localhost", "::1":
		return u.Port() != "" && u.Port() == strconv.Itoa(EdgePort(p))
	}
	return false
}

// ForeignProxy is the user's own proxy in an environment, if the edge does not
// go through it yet. [upstream.ErrUnusable] means that it cannot.
func ForeignProxy(p Paths, conf config.Config, getenv func(string) string) (upstream.Adopted, error) {
	found, err := upstream.FromEnvironment(getenv, func(u *url.URL) bool { return IsOurs(p, u) })
	if err != nil || found.Proxy == "" {
		return upstream.Adopted{}, err
	}
	have, err := upstream.Read(p.Upstream())
	if err != nil {
		return upstream.Adopted{}, err
	}
	if conf.Upstream.Proxy != "" || have.Same(found) {
		// What is written in the configuration was meant.
		return upstream.Adopted{}, nil
	}
	return found, nil
}

// Upstream is how providers are reached: as the configuration says, and where
// that is silent, as the user's own environment did.
func Upstream(p Paths, conf config.Config) (config.Upstream, error) {
	have, err := upstream.Read(p.Upstream())
	return have.Apply(conf.Upstream), err
}

// adoptUpstream keeps the proxy that the user had. Reports what it found.
func (in *Installer) adoptUpstream(now time.Time) (string, error) {
	found, err := ForeignProxy(in.Paths, in.Config, in.Getenv)
	if err != nil {
		return "", err
	}
	if found.Proxy != "" {
		found.At = now.UTC()
		if err := found.Write(in.Paths.Upstream()); err != nil {
			return "", err
		}
		in.UpstreamChanged = true
		return "adopted " + found.Redacted() + " of " + found.From, nil
	}
	up, err := Upstream(in.Paths, in.Config)
	if err != nil {
		return "", err
	}
	if up.Proxy == "" {
		return "none: providers are reached directly", nil
	}
	return upstream.Adopted{Proxy: up.Proxy}.Redacted(), nil
}
