package proxyedge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Chain is one tunnel that an edge hands to the daemon.
type Chain struct {
	Host   string         // in lower case, without brackets and trailing dot
	Port   int            //
	Client netip.AddrPort // the client's own end of its connection to the edge
	User   string         // proxy user or base URL's project, percent-decoded; or empty

	// Plain means that the tunnel carries one HTTP/1.1 exchange in clear,
	// in origin form, which the edge took from a base URL or in absolute
	// form. It belongs to whoever listens on Host and Port, and whether
	// that is TLS is for the daemon to know. The edge does not repeat it.
	Plain bool
}

// Receiver is the daemon's half: it takes tunnels from an [Edge] that holds
// the same key, and from nobody else.
type Receiver struct {
	// Key is the secret shared with the edge: some 32 random bytes that only
	// the user can read. Empty: everything is refused.
	Key []byte

	// Admit decides on a tunnel before it is answered. With an error the
	// edge goes direct and counts the error's text as its reason, if that is
	// a short word such as "learned" or "draining", and else "refused".
	// Nil: everything is admitted.
	Admit func(Chain) error

	// Handle serves the tunnel; unless it is Plain, the client's first bytes
	// are a TLS record, and Handle must not write before it has read some of
	// them. It owns conn and must close it. ctx is Serve's; Serve waits for
	// Handle to return. conn is what the listener returned, unwrapped. Nil:
	// everything is refused.
	Handle func(ctx context.Context, conn net.Conn, c Chain)

	// HeadTimeout bounds the handshake. Zero: 10 s.
	HeadTimeout time.Duration

	// Logger receives events named edge.receiver.*. Nil: discard.
	Logger *slog.Logger
}

// maxChainHead fits the longest authority, and a sealed user of 256 bytes.
const maxChainHead = 8 << 10

// errNoHandler is the edge's reason if there is nobody to serve a tunnel.
var errNoHandler = errors.New("no_handler")

// Serve takes tunnels from ln until ctx ends, then waits for the handlers. It
// closes ln. Only a listener that somebody else closed makes it fail.
func (r *Receiver) Serve(ctx context.Context, ln net.Listener) error {
	log := r.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if r.Handle == nil {
		r = &Receiver{Key: r.Key, HeadTimeout: r.HeadTimeout, Admit: func(Chain) error { return errNoHandler }}
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	return accept(ctx, ln, log, func(conn net.Conn) {
		serving.Go(func() {
			c, err := r.handshake(ctx, conn)
			if err != nil {
				// A probe that connects and leaves is no event.
				if !errors.Is(err, io.EOF) {
					log.Info("edge.receiver.refused", "host", c.Host, "reason", err)
				}
				conn.Close()
				return
			}
			// A fresh goroutine, so that the handshake's stack is not
			// held as long as the tunnel lasts.
			serving.Go(func() { r.Handle(ctx, conn, c) })
		})
	})
}

func (r *Receiver) handshake(ctx context.Context, conn net.Conn) (c Chain, err error) {
	timeout := r.HeadTimeout
	setDefault(&timeout, 10*time.Second)
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return c, fmt.Errorf("set deadline: %w", err)
	}
	// Whoever has not finished its head when ctx ends is let go at once.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	raw, rest, err := readHead(conn, maxChainHead)
	if err != nil {
		return c, err
	}
	req, err := parseRequest(raw)
	if err == nil && req.method != "CONNECT" {
		err = malformed("only CONNECT from an edge is served here")
	}
	if err == nil {
		c.Host, c.Port, err = parseAuthority(req.target)
	}
	if err != nil {
		io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
		return c, err
	}

	nonce, _ := req.one(headerNonce)
	sealed, _ := req.one(headerClient)
	s := statement{nonce: nonce, authority: joinAuthority(c.Host, c.Port), server: endpoint(conn.LocalAddr())}
	who, err := unseal(r.Key, s, sealed)
	if err == nil && (!validNonce(nonce) || len(rest) > 0) {
		err = malformed("not an edge's handshake")
	}
	if err != nil {
		io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n")
		return c, err
	}
	c.Client, c.User, c.Plain = who.Client, who.User, who.Plain

	if r.Admit != nil {
		if err := r.Admit(c); err != nil {
			s.purpose, s.reason = proofRefuse, oneLine(err.Error())
			fmt.Fprintf(conn, "HTTP/1.1 503 Service Unavailable\r\n%s: %s\r\n%s: %s\r\nConnection: close\r\n\r\n",
				headerReason, s.reason, headerProof, s.prove(r.Key))
			return c, err
		}
	}
	s.purpose = admission(c.Plain)
	if _, err := fmt.Fprintf(conn, "HTTP/1.1 200 Connection Established\r\n%s: %s\r\n\r\n", headerProof, s.prove(r.Key)); err != nil {
		return c, fmt.Errorf("answer edge: %w", err)
	}
	if !stop() {
		return c, context.Cause(ctx)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return c, fmt.Errorf("clear deadline: %w", err)
	}
	return c, nil
}

// oneLine makes any text fit for a header field of printable ASCII.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, s)
	return strings.TrimSpace(s[:min(len(s), 200)])
}
