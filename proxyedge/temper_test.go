package proxyedge

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// temper is a way to read HTTP/1 that servers in use have or have had. Its
// zero value takes RFC 9112 at its word, as far as it takes a request at all.
type temper uint

const (
	bareLF     temper = 1 << iota // ends lines at a bare LF
	bareCR                        // ends lines at a bare CR
	manySpaces                    // splits the request line at any white space
	lastLength                    // of two lengths takes the last
	lengthWins                    // over a coding
	laxCoding                     // sees chunked wherever the word stands
	unfolded                      // takes a folded line for a field
	spaceColon                    // ignores white space before a colon
	lastHost                      // of two Hosts takes the last
	laxNumbers                    // reads numbers as strtol(3) does
	underscore                    // takes _ for -, as CGI does
	cutNUL                        // ends a value at NUL, as C does
	tempers
)

// allTempers are each alone, each two together, and all.
func allTempers() []temper {
	all := []temper{0, tempers - 1}
	for a := temper(1); a < tempers; a <<= 1 {
		for b := a; b < tempers; b <<= 1 {
			all = append(all, a|b)
		}
	}
	return all
}

// reading is what a server understands of one request.
type reading struct {
	method, target, host, body string
	size                       int // where the next request begins
}

func (r reading) String() string {
	return r.method + " " + r.target + " " + r.host + " " + r.body
}

// readAll reads requests until what is left is not a whole one.
func (m temper) readAll(b []byte) (all []reading) {
	for len(b) > 0 {
		r, ok := m.read(b)
		if !ok {
			return all
		}
		all = append(all, r)
		b = b[r.size:]
	}
	return all
}

// line cuts the first line off.
func (m temper) line(b []byte) (line string, rest []byte, ok bool) {
	for i, c := range b {
		crlf := c == '\r' && i+1 < len(b) && b[i+1] == '\n'
		switch {
		case crlf:
			return string(b[:i]), b[i+2:], true
		case c == '\n' && m&bareLF != 0, c == '\r' && m&bareCR != 0 && i+1 < len(b):
			return string(b[:i]), b[i+1:], true
		}
	}
	return "", b, false
}

func (m temper) read(b []byte) (r reading, ok bool) {
	whole := len(b)
	var first string
	for first == "" {
		if first, b, ok = m.line(b); !ok {
			return r, false
		}
	}
	parts := strings.SplitN(first, " ", 3)
	if m&manySpaces != 0 {
		parts = strings.Fields(first)
	}
	if len(parts) < 2 {
		return r, false
	}
	r.method, r.target = parts[0], parts[1]
	var h []field
	for {
		var l string
		if l, b, ok = m.line(b); !ok {
			return r, false
		}
		if l == "" {
			break
		}
		if l[0] == ' ' || l[0] == '\t' {
			if l = strings.TrimSpace(l); m&unfolded == 0 {
				if len(h) > 0 {
					h[len(h)-1].value += " " + l
				}
				continue
			}
		}
		h = append(h, m.field(l))
	}
	lengths, codings, hosts := values(h, "content-length"), values(h, "transfer-encoding"), values(h, "host")
	r.host = pick(hosts, m&lastHost != 0)
	chunked := slices.ContainsFunc(codings, func(s string) bool {
		return strings.EqualFold(s, "chunked") || m&laxCoding != 0 && strings.Contains(strings.ToLower(s), "chunked")
	})
	if chunked && !(m&lengthWins != 0 && len(lengths) > 0) {
		r.body, b, ok = m.chunks(b)
	} else {
		n := m.number(pick(lengths, m&lastLength != 0), 10)
		if ok = n <= len(b); ok {
			r.body, b = string(b[:n]), b[n:]
		}
	}
	r.size = whole - len(b)
	return r, ok
}

func (m temper) field(line string) field {
	name, value, _ := strings.Cut(line, ":")
	if m&spaceColon != 0 {
		name = strings.TrimSpace(name)
	}
	if m&underscore != 0 {
		name = strings.ReplaceAll(name, "_", "-")
	}
	if m&cutNUL != 0 {
		value, _, _ = strings.Cut(value, "\x00")
	}
	return field{strings.ToLower(name), strings.TrimSpace(value)}
}

// values are the members of a field, each line a list.
func values(h []field, name string) (all []string) {
	for _, f := range h {
		if f.name == name {
			for member := range strings.SplitSeq(f.value, ",") {
				all = append(all, strings.TrimSpace(member))
			}
		}
	}
	return all
}

func pick(all []string, last bool) string {
	switch {
	case len(all) == 0:
		return ""
	case last:
		return all[len(all)-1]
	}
	return all[0]
}

// number reads digits, and 0 where there are none. It does not look at what
// follows if it is lax.
func (m temper) number(s string, base int) int {
	sign := 1
	if m&laxNumbers != 0 {
		s = strings.TrimSpace(s)
		if rest, ok := strings.CutPrefix(s, "-"); ok {
			s, sign = rest, -1
		}
		s = strings.TrimPrefix(s, "+")
		if rest, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
			s, base = rest, 16
		}
	}
	n := 0
	for _, c := range []byte(s) {
		d := hexValue(c)
		if d < 0 || d >= base {
			if m&laxNumbers == 0 {
				return 0
			}
			break
		}
		n = n*base + d
		if n > 1<<40 {
			break
		}
	}
	return max(0, sign*n)
}

func (m temper) chunks(b []byte) (body string, rest []byte, ok bool) {
	var data bytes.Buffer
	for {
		line, after, ok := m.line(b)
		if !ok {
			return "", b, false
		}
		size, _, _ := strings.Cut(line, ";")
		n := m.number(strings.TrimRight(size, " \t"), 16)
		if b = after; n == 0 {
			break
		}
		if n > len(b) {
			return "", b, false
		}
		data.Write(b[:n])
		b = bytes.TrimPrefix(bytes.TrimPrefix(b[n:], []byte("\r")), []byte("\n"))
	}
	for {
		line, after, ok := m.line(b)
		if !ok {
			return "", b, false
		}
		if b = after; line == "" {
			return data.String(), b, true
		}
	}
}

// The tempers do read differently what is meant to be read differently: else
// their agreement would say nothing.
func TestTempersDiffer(t *testing.T) {
	for m, request := range map[temper]string{
		bareLF:     "GET /a HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length: 1\r\n\r\nx",
		bareCR:     "GET /a HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 1\r\n\r\nx",
		manySpaces: "GET  /a HTTP/1.1\r\nHost: a\r\n\r\n",
		lastLength: "GET /a HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\nx",
		lengthWins: "GET /a HTTP/1.1\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx",
		laxCoding:  "GET /a HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
		unfolded:   "GET /a HTTP/1.1\r\nX: y\r\n Content-Length: 1\r\n\r\nx",
		spaceColon: "GET /a HTTP/1.1\r\nContent-Length : 1\r\n\r\nx",
		lastHost:   "GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		laxNumbers: "GET /a HTTP/1.1\r\nContent-Length: +1\r\n\r\nx",
		underscore: "GET /a HTTP/1.1\r\nContent_Length: 1\r\n\r\nx",
		cutNUL:     "GET /a HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
	} {
		strict, lax := temper(0).readAll([]byte(request)), m.readAll([]byte(request))
		if fmt.Sprint(strict) == fmt.Sprint(lax) {
			t.Errorf("%q: both read %v", request, lax)
		}
	}
	const plain = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\nx\r\n0\r\nA: b\r\n\r\nGET /b HTTP/1.1\r\nHost: c\r\n\r\n"
	for _, m := range allTempers() {
		if got, want := fmt.Sprint(m.readAll([]byte(plain))), "[POST /a a x GET /b c ]"; got != want {
			t.Errorf("temper %b reads %s, want %s", m, got, want)
		}
	}
}
