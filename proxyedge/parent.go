package proxyedge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"
)

// ParentProxy dials through another proxy, such as a company's. Its
// DialContext serves as DialContext of an http.Transport and as [Edge.Dial];
// [Edge.Parent] is better, where plain http requests matter.
type ParentProxy struct {
	// URL is the proxy: http or https, with user and password if it wants
	// them. Nil: everything is dialled directly.
	URL *url.URL

	// NoProxy lists what is dialled directly, as the NO_PROXY environment
	// variable does: names (with their subdomains), .suffixes, addresses,
	// CIDR ranges, each with an optional :port, separated by commas; * is
	// everything. Loopback is always dialled directly.
	NoProxy string

	// Dial connects to the proxy, and directly. Nil: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// RootCAs verify an https proxy. Nil: the system's.
	RootCAs *x509.CertPool
}

// ParentError is a parent proxy's refusal.
type ParentError struct {
	Proxy  string // its host:port
	Target string // what it was asked to connect to
	Status int    // the status of its answer
}

func (e *ParentError) Error() string {
	hint := ""
	if e.Status == 407 {
		hint = ": check the user and password in its URL"
	}
	return fmt.Sprintf("parent proxy %s answered %d for %s%s", e.Proxy, e.Status, e.Target, hint)
}

// DialContext connects to address through the proxy, or directly where
// NoProxy says so. A refusal of the proxy is a [*ParentError].
func (p *ParentProxy) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	dial := p.Dial
	if dial == nil {
		dial = dialGuarded
	}
	through, _ := ctx.Value(passageKey{}).(passage)
	if p.URL == nil || through.again || bypasses(p.NoProxy, address) {
		return dial(ctx, network, address)
	}
	proxy, err := p.address()
	if err != nil {
		return nil, err
	}
	conn, err := p.dialProxy(ctx, proxy)
	if errors.Is(err, errOwnAddress) {
		return dial(ctx, network, address)
	}
	if err != nil {
		return nil, err
	}
	// The deadline and the cancellation of ctx end here, with the dialling.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	tunnel, err := p.connect(ctx, conn, proxy, address)
	if err == nil && !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("connect to %s through parent proxy %s: %w", address, proxy, context.Cause(ctx))
		}
		return nil, err
	}
	return tunnel, nil
}

// dialProxy connects to the proxy. An edge that is itself the proxy finds out
// here, as errOwnAddress.
func (p *ParentProxy) dialProxy(ctx context.Context, proxy string) (net.Conn, error) {
	dial := p.Dial
	if dial == nil {
		dial = dialGuarded
	}
	// The parent may be local; whether the target is has been judged.
	conn, err := dial(context.WithValue(ctx, outsideKey{}, false), "tcp", proxy)
	if err != nil {
		return nil, fmt.Errorf("connect to parent proxy %s: %w", proxy, err)
	}
	return conn, nil
}

// address is the host:port of the proxy.
func (p *ParentProxy) address() (string, error) {
	port := p.URL.Port()
	switch {
	case p.URL.Hostname() == "":
		return "", fmt.Errorf("parent proxy %s: no host", p.URL.Redacted())
	case p.URL.Scheme != "http" && p.URL.Scheme != "https":
		return "", fmt.Errorf("parent proxy %s: scheme must be http or https", p.URL.Redacted())
	case port == "" && p.URL.Scheme == "http":
		port = "80"
	case port == "":
		port = "443"
	}
	return net.JoinHostPort(p.URL.Hostname(), port), nil
}

func (p *ParentProxy) connect(ctx context.Context, conn net.Conn, proxy, target string) (net.Conn, error) {
	if p.URL.Scheme == "https" {
		secure := tls.Client(conn, &tls.Config{ServerName: p.URL.Hostname(), RootCAs: p.RootCAs, MinVersion: tls.VersionTLS12})
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS with parent proxy %s: %w", proxy, err)
		}
		conn = secure
	}
	head := "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n"
	if onThisMachine(conn) {
		head += headerVia + ": " + viaOf(ctx) + "\r\n"
	}
	if user := p.URL.User; user != nil {
		password, _ := user.Password()
		head += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)) + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		return nil, fmt.Errorf("ask parent proxy %s: %w", proxy, err)
	}
	raw, rest, err := readHead(conn, 64<<10)
	if err != nil {
		return nil, fmt.Errorf("read answer of parent proxy %s: %w", proxy, err)
	}
	status, _, err := parseResponse(raw)
	if err != nil {
		return nil, fmt.Errorf("read answer of parent proxy %s: %w", proxy, err)
	}
	if status/100 != 2 {
		return nil, &ParentError{Proxy: proxy, Target: target, Status: status}
	}
	if len(rest) > 0 {
		return &prefixedConn{Conn: conn, prefix: rest}, nil
	}
	return conn, nil
}

// prefixedConn is a connection whose first bytes came along with the answer.
type prefixedConn struct {
	net.Conn
	prefix []byte
}

func (c *prefixedConn) Read(b []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(b, c.prefix)
		c.prefix = c.prefix[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

func (c *prefixedConn) CloseWrite() error { return closeWrite(c.Conn) }

// bypasses matches address against a NO_PROXY list, by the rules of
// golang.org/x/net/http/httpproxy.
func bypasses(list, address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	ip := net.ParseIP(host)
	if host == "localhost" || ip != nil && ip.IsLoopback() {
		return true
	}
	for _, entry := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		entry = strings.ToLower(entry)
		if entry == "*" {
			return true
		}
		if _, network, err := net.ParseCIDR(entry); err == nil {
			if ip != nil && network.Contains(ip) {
				return true
			}
			continue
		}
		if h, p, err := net.SplitHostPort(entry); err == nil {
			if p != port {
				continue
			}
			entry = h
		}
		if other := net.ParseIP(strings.Trim(entry, "[]")); other != nil {
			if ip != nil && other.Equal(ip) {
				return true
			}
			continue
		}
		// "*.example.com" and ".example.com" are the names below it,
		// "example.com" is that and the names below it.
		entry = strings.TrimSuffix(strings.TrimPrefix(entry, "*"), ".")
		suffix := "." + strings.TrimPrefix(entry, ".")
		if host == entry || suffix != "." && strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return false
}
