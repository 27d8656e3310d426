package proxyedge

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

var (
	errHeadTooLarge = errors.New("head too large")
	errHeadCut      = errors.New("connection closed within the head")
)

// readHead reads up to and including the empty line that ends an HTTP/1 head.
// rest is what arrived behind it in the same segment: with a client that does
// not wait for our answer, its first TLS record. The caller sets the deadline.
// io.EOF means that nothing was sent at all.
func readHead(r io.Reader, limit int) (head, rest []byte, err error) {
	buf := make([]byte, 0, min(limit, 2048))
	for {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(2*cap(buf), limit))
			copy(grown, buf)
			buf = grown
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		// The end may straddle two reads.
		from := max(0, len(buf)-3)
		buf = buf[:len(buf)+n]
		if i := bytes.Index(buf[from:], []byte("\r\n\r\n")); i >= 0 {
			end := from + i + 4
			return buf[:end:end], buf[end:], nil
		}
		switch {
		case errors.Is(err, io.EOF) && len(buf) == 0:
			return nil, nil, io.EOF
		case errors.Is(err, io.EOF):
			return buf, nil, errHeadCut
		case err != nil:
			return buf, nil, err
		case len(buf) >= limit:
			return buf, nil, errHeadTooLarge
		}
	}
}

// head is a parsed HTTP/1 head. For a response, method is the protocol and
// target the status code.
type head struct {
	method  string
	target  string
	version string
	fields  []field
}

type field struct{ name, value string }

// get returns the values of a field, in order.
func (h *head) get(name string) []string {
	var values []string
	for _, f := range h.fields {
		if strings.EqualFold(f.name, name) {
			values = append(values, f.value)
		}
	}
	return values
}

// one returns the value of a field that must occur exactly once.
func (h *head) one(name string) (string, bool) {
	values := h.get(name)
	if len(values) != 1 {
		return "", false
	}
	return values[0], true
}

// malformed is a head that no careful server takes; its text goes to the
// client.
type malformed string

func (m malformed) Error() string { return string(m) }

// parseRequest parses a request head as strictly as RFC 9112 allows a server
// to: whatever two parsers may read differently is refused.
func parseRequest(raw []byte) (*head, error) {
	// RFC 9112 section 2.2: one empty line before the request line is ignored.
	lines, err := splitLines(bytes.TrimPrefix(raw, []byte("\r\n")))
	if err != nil {
		return nil, err
	}
	parts := strings.Split(lines[0], " ")
	if len(parts) != 3 || !isToken(parts[0]) || parts[1] == "" {
		return nil, malformed("malformed request line")
	}
	h := &head{method: parts[0], target: parts[1], version: parts[2]}
	if h.version != "HTTP/1.1" && h.version != "HTTP/1.0" {
		return nil, malformed("unsupported protocol version")
	}
	for _, c := range []byte(h.target) {
		if c <= ' ' || c >= 0x7f {
			return nil, malformed("malformed request target")
		}
	}
	if h.fields, err = parseFields(lines[1:]); err != nil {
		return nil, err
	}
	return h, h.checkFraming()
}

// parseResponse parses the head of an answer to CONNECT.
func parseResponse(raw []byte) (status int, h *head, err error) {
	lines, err := splitLines(raw)
	if err != nil {
		return 0, nil, err
	}
	version, rest, _ := strings.Cut(lines[0], " ")
	code, _, _ := strings.Cut(rest, " ")
	if version != "HTTP/1.1" && version != "HTTP/1.0" {
		return 0, nil, malformed("malformed status line")
	}
	status, err = strconv.Atoi(code)
	if err != nil || len(code) != 3 || status < 100 {
		return 0, nil, malformed("malformed status line")
	}
	h = &head{method: version, target: code, version: version}
	h.fields, err = parseFields(lines[1:])
	return status, h, err
}

// splitLines splits a head at its CRLFs, and refuses bare CR and LF: parsers
// disagree on whether those end a line.
func splitLines(raw []byte) ([]string, error) {
	text, ok := strings.CutSuffix(string(raw), "\r\n\r\n")
	if !ok || text == "" {
		return nil, malformed("malformed head")
	}
	lines := strings.Split(text, "\r\n")
	for _, line := range lines {
		if strings.ContainsAny(line, "\r\n\x00") {
			return nil, malformed("bare CR, LF or NUL in the head")
		}
	}
	return lines, nil
}

func parseFields(lines []string) ([]field, error) {
	fields := make([]field, 0, len(lines))
	for _, line := range lines {
		if line != "" && (line[0] == ' ' || line[0] == '\t') {
			return nil, malformed("folded header field")
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) {
			return nil, malformed("malformed header field")
		}
		value = strings.Trim(value, " \t")
		for _, c := range []byte(value) {
			if c < ' ' && c != '\t' || c == 0x7f {
				return nil, malformed("control character in a header field")
			}
		}
		fields = append(fields, field{name, value})
	}
	return fields, nil
}

// checkFraming refuses the heads that request smuggling is made of (RFC 9112
// section 6.1, 6.3 and 11.2), and framing on CONNECT, whose bytes after the
// head are the tunnel's (RFC 9110 section 9.3.6).
func (h *head) checkFraming() error {
	lengths, codings := h.get("Content-Length"), h.get("Transfer-Encoding")
	switch {
	case len(h.get("Host")) > 1:
		return malformed("more than one Host")
	case len(lengths) > 1 || len(codings) > 1:
		return malformed("repeated Content-Length or Transfer-Encoding")
	case len(lengths) > 0 && len(codings) > 0:
		return malformed("Content-Length beside Transfer-Encoding")
	case len(codings) > 0 && (h.version != "HTTP/1.1" || !strings.EqualFold(codings[0], "chunked")):
		return malformed("unsupported Transfer-Encoding")
	case len(lengths) > 0 && !isDigits(lengths[0]):
		return malformed("malformed Content-Length")
	case h.method == "CONNECT" && (len(codings) > 0 || len(lengths) > 0 && strings.Trim(lengths[0], "0") != ""):
		return malformed("CONNECT with a body")
	}
	return nil
}

func isToken(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

func isDigits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

// parseAuthority parses the target of a CONNECT: a host name or address and a
// port, both required (RFC 9112 section 3.2.3). The host comes back in lower
// case, without the brackets of an IPv6 literal and the dot of a rooted name.
func parseAuthority(s string) (host string, port int, err error) {
	bad := func(why string) (string, int, error) {
		return "", 0, fmt.Errorf("parse authority %q: %w", s, malformed(why))
	}
	bracketed := strings.HasPrefix(s, "[")
	host, digits, err := net.SplitHostPort(s)
	if err != nil {
		return bad("want host:port")
	}
	if !isDigits(digits) || len(digits) > 5 {
		return bad("malformed port")
	}
	if port, err = strconv.Atoi(digits); err != nil || port < 1 || port > 65535 {
		return bad("port out of range")
	}
	if bracketed {
		addr, err := netip.ParseAddr(host)
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return bad("malformed IPv6 literal")
		}
		return addr.String(), port, nil
	}
	rooted := strings.ToLower(host)
	host = strings.TrimSuffix(rooted, ".")
	if host == "" || len(host) > 253 || host[0] == '.' || strings.Contains(rooted, "..") {
		return bad("malformed host")
	}
	for _, c := range []byte(host) {
		// Not only what RFC 1123 allows: names with underscores resolve.
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_') {
			return bad("malformed host")
		}
	}
	if _, err := netip.ParseAddr(host); err != nil && endsInNumber(host) {
		return bad("malformed IPv4 address")
	}
	return host, port, nil
}

// endsInNumber reports whether inet_aton(3), and who resolves with it, such as
// a parent proxy, would take host for an IPv4 address in one of its rare
// spellings (RFC 3986 section 7.4). No top-level domain is a number.
func endsInNumber(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	if digits, ok := strings.CutPrefix(last, "0x"); ok {
		return !strings.ContainsFunc(digits, func(c rune) bool { return c > 'f' || hexValue(byte(c)) < 0 })
	}
	return isDigits(last)
}

// joinAuthority is the canonical spelling of what parseAuthority accepts.
func joinAuthority(host string, port int) string {
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// proxyUser is the user of a Basic Proxy-Authorization, which names the
// client's project; the password means nothing. Some clients send the user as
// it was written in the proxy URL, so it is percent-decoded where it can be.
// Whatever cannot be read is no user: credentials never fail a request.
func proxyUser(h *head) string {
	value, ok := h.one("Proxy-Authorization")
	if !ok {
		return ""
	}
	scheme, blob, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return ""
	}
	plain, err := base64.StdEncoding.DecodeString(strings.Trim(blob, " "))
	if err != nil {
		return ""
	}
	// RFC 7617 has no colon in a user, but a project's name may have one, and
	// clients decode it before they build this. The password is nobody's
	// secret, so it is what follows the last colon.
	user := string(plain)
	if i := strings.LastIndexByte(user, ':'); i >= 0 {
		user = user[:i]
	}
	return decodeUser(user)
}
