package proxyedge

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// What goes to an http target through a parent proxy is sent to the parent in
// absolute form (RFC 9112 section 3.2.2), as clients do: many parents tunnel
// to port 443 only.

// newParent makes connections to the parent. The transport adds the parent's
// Proxy-Authorization from its URL, and absolute targets.
func (w *web) newParent() *http.Transport {
	p := w.edge.Parent
	if p == nil || p.URL == nil {
		return nil
	}
	t := w.newTransport(func(ctx context.Context, _, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(w.edge.guarded(ctx), w.edge.DialTimeout)
		defer cancel()
		conn, err := p.dialProxy(ctx, address)
		if err == nil {
			w.here.Store(onThisMachine(conn))
		}
		return conn, err
	})
	t.Proxy = http.ProxyURL(p.URL)
	t.TLSClientConfig.RootCAs = p.RootCAs // of the parent itself
	return t
}

// takesParent reports whether a request goes to the parent as it is.
func (x *forward) takesParent(ctx context.Context, r *http.Request) bool {
	e := x.web.edge
	switch {
	case x.web.parent == nil, x.through.again, x.target.scheme != "http":
		return false
	case r.Header.Get("Upgrade") != "":
		return false // a proxy need not know what follows
	case bypasses(e.Parent.NoProxy, joinAuthority(x.target.host, x.target.port)):
		return false
	}
	proxy, err := e.Parent.address()
	if err != nil {
		return false // the tunnel's error says it
	}
	host, port, err := parseAuthority(proxy)
	if err != nil {
		return false
	}
	return !errors.Is(e.judge(ctx, host, port), errOwnAddress)
}

// judge is what dialling would find out, where a parent dials.
func (e *Edge) judge(ctx context.Context, host string, port int) error {
	if ip, err := netip.ParseAddr(host); err == nil {
		return e.guard.refuse(ctx, netip.AddrPortFrom(ip, uint16(port)))
	}
	return e.guard.refuseName(ctx, host, port)
}

// toParent sends a request to the parent, unless its target is ours to refuse.
func (x *forward) toParent(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	if !x.target.route && !x.web.edge.AllowLocal {
		ctx = context.WithValue(ctx, outsideKey{}, true)
	}
	if err := x.web.edge.judge(ctx, x.target.host, x.target.port); err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	return x.web.parent.RoundTrip(req)
}

// absolute makes a request's target absolute, its path spelt as it was.
func (x *forward) absolute(out *http.Request) {
	out.URL = &url.URL{
		Scheme: "http", Host: joinAuthority(x.target.host, x.target.port),
		Opaque:   "//" + x.target.authority + x.target.path,
		RawQuery: out.URL.RawQuery, ForceQuery: out.URL.ForceQuery,
	}
	if x.web.here.Load() {
		own := viaOf(out.Context())
		if rest := out.Header[headerVia]; len(rest) > 0 {
			own = strings.Join(rest, ", ") + ", " + own
		}
		setVia(out.Header, []string{own})
	}
}

// refusedByParent is a 407, which is between us and the parent. Every other
// answer is for the client, like one to a tool without an edge.
func (x *forward) refusedByParent(res *http.Response) error {
	if !x.parent || res.StatusCode != http.StatusProxyAuthRequired {
		return nil
	}
	proxy, _ := x.web.edge.Parent.address()
	return &ParentError{Proxy: proxy, Target: x.target.authority, Status: res.StatusCode}
}
