package proxyedge

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"slices"
	"strings"
)

// A request that has passed a proxy of ours says so to the next one, which may
// be ours as well: configured as another's parent, or as the daemon's. The
// field is Via, whose purpose that is (RFC 9110 section 7.6.3). It is only put
// before a parent on this machine, since ours listen nowhere else, and an edge
// takes it away again. A parent that is not ours may pass it on, so it tells
// nobody which edge it was: only that edge itself can know its name again.
//
// Such a request is never given to a daemon, and one that has passed this very
// edge not to a parent either. So each hop adds a name or is the last.
const headerVia = "Via"

// markPrefix begins the pseudonyms of ours.
const markPrefix = "halton-"

// maxMarks bounds the hops even if names were forged.
const maxMarks = 8

// marker makes the names of one edge, another one for each request.
type marker struct{ key []byte }

const markSize = 8 // bytes of chance, and as many that vouch for them

func newMarker() marker {
	m := marker{make([]byte, 32)}
	rand.Read(m.key)
	return m
}

func (m marker) name() string {
	b := make([]byte, markSize)
	rand.Read(b)
	return markPrefix + hex.EncodeToString(m.vouch(b))
}

func (m marker) owns(name string) bool {
	b, err := hex.DecodeString(strings.TrimPrefix(name, markPrefix))
	return err == nil && len(b) == 2*markSize && hmac.Equal(b, m.vouch(b[:markSize:markSize]))
}

func (m marker) vouch(b []byte) []byte {
	mac := hmac.New(sha256.New, m.key)
	mac.Write(b)
	return append(b, mac.Sum(nil)[:markSize]...)
}

// passage is which proxies of ours a request has passed.
type passage struct {
	marks []string
	again bool    // this edge is among them, or they are too many
	here  *marker // of the edge that sends it on; nil: none does, or again
}

func (p passage) passed() bool { return len(p.marks) > 0 }

// passageOf reads the Via fields of a request.
func (e *Edge) passageOf(via []string) passage {
	var p passage
	for _, value := range via {
		for member := range strings.SplitSeq(value, ",") {
			if mark := markOf(member); mark != "" {
				p.marks = append(p.marks, mark)
			}
		}
	}
	p.again = len(p.marks) >= maxMarks || slices.ContainsFunc(p.marks, e.marker.owns)
	return p
}

// markOf is the pseudonym in a member of a Via list, if it is one of ours.
func markOf(member string) string {
	fields := strings.Fields(member) // protocol, pseudonym, comment
	if len(fields) < 2 || !strings.HasPrefix(fields[1], markPrefix) {
		return ""
	}
	return fields[1]
}

// unmarked is a request's Via without what is ours, spelt as it was.
func unmarked(via []string) []string {
	var kept []string
	for _, value := range via {
		members := strings.Split(value, ",")
		others := slices.DeleteFunc(slices.Clone(members), func(m string) bool { return markOf(m) != "" })
		switch {
		case len(others) == len(members):
			kept = append(kept, value)
		case len(others) > 0:
			kept = append(kept, strings.TrimSpace(strings.Join(others, ",")))
		}
	}
	return kept
}

// passageKey carries a passage to the parent's dialer.
type passageKey struct{}

func (e *Edge) withPassage(ctx context.Context, p passage) context.Context {
	if !p.again {
		p.here = &e.marker
	}
	return context.WithValue(ctx, passageKey{}, p)
}

// viaOf is what a parent is to be told. Whoever dials without an edge is the
// daemon, or a program like it.
func viaOf(ctx context.Context) string {
	p, _ := ctx.Value(passageKey{}).(passage)
	switch {
	case p.here != nil:
		p.marks = append(slices.Clone(p.marks), p.here.name())
	case !p.passed():
		p.marks = []string{markPrefix + "daemon"}
	}
	return "1.1 " + strings.Join(p.marks, ", 1.1 ")
}

// onThisMachine reports whether the peer of a connection may be one of ours.
func onThisMachine(conn net.Conn) bool {
	ap, ok := addrPort(conn.RemoteAddr())
	return ok && isLocal(ap.Addr().WithZone(""))
}

// setVia replaces a header's Via.
func setVia(h http.Header, values []string) {
	if len(values) == 0 {
		h.Del(headerVia)
		return
	}
	h[headerVia] = values
}
