package agents

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/edgectl"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/upstream"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
)

// isOurs reports whether a proxy's URL names our edge, or where it was: an old
// shell may hold the port from which it has moved.
func isOurs(ctx context.Context, p Paths, u *url.URL) bool {
	switch u.Hostname() {
	case "127.0.0.1", "localhost", "::1":
	default:
		return false
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil || port == EdgePort(p) {
		return err == nil
	}
	choice := EdgeChoice(0)
	if port != choice.Preferred && !slices.Contains(choice.Fallbacks, port) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, upstreamPatience)
	defer cancel()
	err = EdgeAnswers(ctx, p, port)
	return err == nil || errors.Is(err, syscall.ECONNREFUSED)
}

// ForeignProxy is the user's own proxy in an environment, if the edge does not
// go through it yet. [upstream.ErrUnusable] means that it cannot.
func ForeignProxy(ctx context.Context, p Paths, conf config.Config, getenv func(string) string) (upstream.Adopted, error) {
	found, err := upstream.FromEnvironment(getenv, func(u *url.URL) bool { return isOurs(ctx, p, u) })
	if err != nil || found.Proxy == "" {
		return upstream.Adopted{}, err
	}
	have, err := upstream.Read(p.Upstream())
	if err != nil {
		return upstream.Adopted{}, err
	}
	if have.Proxy == found.Proxy {
		// Of two shells that differ in this only, neither takes it from the other.
		found.NoProxy = have.NoProxyAnd(found.NoProxy)
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
func (in *Installer) adoptUpstream(ctx context.Context, now time.Time) (string, error) {
	getenv := in.Getenv
	if !slices.ContainsFunc(ProxyVariables, func(name string) bool { return getenv(name) != "" }) {
		getenv = in.wholeEnvironment(ctx)
	}
	found, err := ForeignProxy(ctx, in.Paths, in.Config, getenv)
	if err != nil {
		return "", err
	}
	if found.Proxy != "" && ProxyAnswers(ctx, found.Proxy) != nil {
		return found.From + " names " + found.Redacted() + ", which does not answer: not adopted", nil
	}
	if found.Proxy != "" {
		found.At = now.UTC()
		if err := AdoptUpstream(in.Paths, found); err != nil {
			return "", err
		}
		return "adopted " + found.Redacted() + " of " + found.From, nil
	}
	// What config.toml says, or somebody has deleted, since the edge started.
	if rep, err := edgectl.Ask(ctx, in.Paths.EdgeSocket()); err == nil && !setupIs(in.Paths, rep) {
		if err := MarkOutdated(in.Paths, Daemon); err != nil {
			return "", err
		}
	}
	up, err := Upstream(in.Paths, in.Config)
	if err != nil {
		return "", err
	}
	if up.Proxy == "" {
		return "none: providers are reached directly", nil
	}
	detail := upstream.Adopted{Proxy: up.Proxy}.Redacted()
	if err := UpstreamAnswers(ctx, in.Paths); err != nil {
		detail = err.Error()
	}
	return detail, nil
}

// AdoptUpstream notes the user's proxy. A daemon that runs goes past it until
// it is loaded anew.
func AdoptUpstream(p Paths, found upstream.Adopted) error {
	if err := MarkOutdated(p, Daemon); err != nil {
		return err
	}
	return found.Write(p.Upstream())
}

// upstreamPatience is what a proxy on the network gets to take a connection.
const upstreamPatience = 500 * time.Millisecond

// UpstreamAnswers is nil if the proxy that edge and daemon go through takes
// connections, or there is none: while it does not, a program that is led
// through the edge fails, where it may do well without.
func UpstreamAnswers(ctx context.Context, p Paths) error {
	conf, _ := config.Load(p.Config()) // a broken one says nothing
	up, err := Upstream(p, conf)
	if err != nil || up.Proxy == "" {
		return nil
	}
	if ProxyAnswers(ctx, up.Proxy) == nil {
		return nil
	}
	forget := "take [upstream] proxy out of " + p.Config() + " if it is gone for good, then halton-meter stop && halton-meter start"
	if conf.Upstream.Proxy == "" {
		forget = "rm " + shellenv.Quote(p.Upstream()) + " && halton-meter init forgets it"
	}
	return fmt.Errorf("the proxy %s does not answer, so programs that go through the edge fail (%s)", upstream.Adopted{Proxy: up.Proxy}.Redacted(), forget)
}

// ProxyAnswers is nil if the proxy takes connections. One that does not must not
// be adopted: what a single shell says, perhaps since long ago, would fail all.
func ProxyAnswers(ctx context.Context, proxy string) error {
	u, err := url.Parse(proxy)
	if err != nil {
		return err
	}
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	ctx, cancel := context.WithTimeout(ctx, upstreamPatience)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return err
	}
	return conn.Close()
}

// EdgeSetup tells one way to the providers from another: the parent proxy, the
// roots, what may be reached. The edge reads it once.
func EdgeSetup(p Paths, conf config.Config) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %t\n", []string{conf.Upstream.Proxy, conf.Upstream.NoProxy, conf.Upstream.CAFile}, conf.Edge.AllowLocal)
	for _, path := range []string{conf.Upstream.CAFile, p.AdoptedRoots()} {
		data, _ := smallfile.Read(path, smallfile.Max) // none is a setup too
		fmt.Fprintf(h, "%x\n", sha256.Sum256(data))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// setupIs reports whether the edge reaches the providers as it would if it
// started now. It shall not start into a configuration that is broken.
func setupIs(p Paths, rep edgectl.Report) bool {
	conf, err := config.Load(p.Config())
	if err != nil || rep.Setup == "" {
		return true
	}
	if conf.Upstream, err = Upstream(p, conf); err != nil {
		return true
	}
	return rep.Setup == EdgeSetup(p, conf)
}
