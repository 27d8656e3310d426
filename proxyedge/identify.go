package proxyedge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// ErrStranger is what [Identify] returns when something listens that cannot
// prove that it is our edge.
var ErrStranger = errors.New("not our edge")

// Identify finds out whether the edge at addr holds key. Nil: it does.
// [ErrStranger]: somebody else answered. Any other error, for instance
// syscall.ECONNREFUSED or a deadline: nobody answered within ctx.
func Identify(ctx context.Context, addr string, key []byte) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("identify edge at %s: %w", addr, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	s := statement{purpose: proofIdentify, nonce: newNonce(), server: endpoint(conn.RemoteAddr())}
	if _, err := fmt.Fprintf(conn, "OPTIONS * HTTP/1.1\r\nHost: %s\r\n%s: %s\r\n\r\n", addr, headerNonce, s.nonce); err != nil {
		return fmt.Errorf("identify edge at %s: %w", addr, err)
	}
	raw, _, err := readHead(conn, maxChainHead)
	if ctx.Err() != nil {
		return fmt.Errorf("identify edge at %s: %w", addr, context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("identify edge at %s: %w: %w", addr, ErrStranger, err)
	}
	_, h, err := parseResponse(raw)
	if err != nil {
		return fmt.Errorf("identify edge at %s: %w: %w", addr, ErrStranger, err)
	}
	if proof, ok := h.one(headerProof); !ok || !s.proved(key, proof) {
		return fmt.Errorf("identify edge at %s: %w: no proof of the key", addr, ErrStranger)
	}
	return nil
}

// serveIdentify answers the challenge. Without a key, or without a nonce, the
// answer carries no proof.
func (e *Edge) serveIdentify(conn net.Conn, req *head) {
	answer := "HTTP/1.1 204 No Content\r\n"
	nonce, ok := req.one(headerNonce)
	if key := e.key(); ok && validNonce(nonce) && len(key) > 0 {
		s := statement{purpose: proofIdentify, nonce: nonce, server: endpoint(conn.LocalAddr())}
		answer += headerProof + ": " + s.prove(key) + "\r\n"
	}
	io.WriteString(conn, answer+"Connection: close\r\n\r\n")
}

func (e *Edge) key() []byte {
	if e.Key == nil {
		return nil
	}
	return e.Key()
}
