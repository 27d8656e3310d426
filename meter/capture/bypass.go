package capture

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/haltonlabs/halton-meter/proxyedge"
)

const (
	// recheckEvery is how often a host whose certificate did not verify is
	// tried again: a hotel's captive portal must not end the metering of it.
	recheckEvery = time.Minute
	// challengeTime is for how long a host is left alone that took us for a
	// bot; only the client's own TLS may please it.
	challengeTime = time.Hour
)

// Why a host is bypassed, and what Admit's error says.
const (
	reasonUntrusted  = "untrusted"
	reasonChallenged = "challenged"
)

// bypass remembers the hosts with which we must not interfere.
type bypass struct {
	mu    sync.Mutex
	hosts map[string]*bypassed
}

type bypassed struct {
	reason string
	err    error
	until  time.Time // of a challenge; of a certificate, the next look at it
}

// Bypassed is a host whose tunnels Admit refuses.
type Bypassed struct {
	Host string
	// Reason is "untrusted" or "challenged", as in Admit's error.
	Reason string
	// Err is why the host's certificate did not verify; nil if challenged.
	Err error
	// Until is when the host is tried again.
	Until time.Time
}

// Bypassed returns the hosts that pass unmetered now, sorted by name.
func (i *Interceptor) Bypassed() []Bypassed {
	b := &i.bypass
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []Bypassed
	for host, h := range b.hosts {
		if h.reason == reasonUntrusted || time.Now().Before(h.until) {
			list = append(list, Bypassed{host, h.reason, h.err, h.until})
		}
	}
	slices.SortFunc(list, func(x, y Bypassed) int { return strings.Compare(x.Host, y.Host) })
	return list
}

func (b *bypass) add(host, reason string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hosts == nil {
		b.hosts = make(map[string]*bypassed)
	}
	wait := recheckEvery
	if reason == reasonChallenged {
		wait = challengeTime
	}
	b.hosts[host] = &bypassed{reason, err, time.Now().Add(wait)}
}

func (b *bypass) reason(host string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.hosts[host]
	switch {
	case h == nil:
		return ""
	case h.reason == reasonChallenged && !time.Now().Before(h.until):
		delete(b.hosts, host)
		return ""
	}
	return h.reason
}

// due reports whether it is time to look at the host's certificate again, to
// one caller.
func (b *bypass) due(host string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.hosts[host]
	if h == nil || h.reason != reasonUntrusted || time.Now().Before(h.until) {
		return false
	}
	h.until = time.Now().Add(recheckEvery)
	return true
}

func (b *bypass) remove(host string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.hosts, host)
}

// Admit decides on a tunnel before it is answered; it has the signature of
// proxyedge.Receiver.Admit. A refusal costs the client nothing, since the edge
// goes direct. The error's text is the reason: "draining", "unpermitted",
// "unmetered" (in clear, to a place that may not speak TLS), "untrusted" (the provider's certificate did not verify) or "challenged" (its
// front end took us for a bot).
func (i *Interceptor) Admit(c proxyedge.Chain) error {
	i.setup()
	switch {
	case i.drain.isDraining():
		return errors.New("draining")
	case c.Plain && (c.Port != 443 || !i.Metered(c.Host, c.Port)):
		return errors.New("unmetered")
	case !c.Plain && !i.Authority.Permits(c.Host):
		return errors.New("unpermitted")
	}
	if reason := i.bypass.reason(c.Host); reason != "" {
		if i.bypass.due(c.Host) {
			i.drain.work(func() { i.recheck(c.Host, c.Port) })
		}
		return errors.New(reason)
	}
	return nil
}

// Untrusted reports whether the host's own certificate did not verify when it
// was last seen.
func (i *Interceptor) Untrusted(host string) bool {
	return i.bypass.reason(host) == reasonUntrusted
}

func (i *Interceptor) distrust(host, reason string, err error) {
	i.bypass.add(host, reason, err)
	i.Logger.Warn("capture.host.bypassed", "host", host, "reason", reason, "error", err)
}

// recheck lifts the bypass of a host whose certificate verifies again.
func (i *Interceptor) recheck(host string, port int) {
	ctx, cancel := context.WithTimeout(i.base, 30*time.Second)
	defer cancel()
	conn, err := i.Dial(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return
	}
	defer conn.Close()
	if tls.Client(conn, &tls.Config{ServerName: host, RootCAs: i.RootCAs}).HandshakeContext(ctx) != nil {
		return
	}
	i.bypass.remove(host)
	i.Logger.Info("capture.host.trusted", "host", host)
}
