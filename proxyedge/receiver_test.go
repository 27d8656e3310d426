package proxyedge

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// Nobody but an edge with the key gets through, and nobody gets a proof.
func TestReceiverRefusesStrangers(t *testing.T) {
	addr, _ := receive(t, nil, func(conn net.Conn, c Chain) { t.Errorf("served %+v", c) })

	handshake := func(change func(s *statement, sealed *string)) string {
		s := statement{nonce: newNonce(), authority: "a.example:443", server: addr}
		sealed, err := seal(testKey, s, particulars{})
		if err != nil {
			t.Fatal(err)
		}
		change(&s, &sealed)
		return fmt.Sprintf("CONNECT %s HTTP/1.1\r\n%s: %s\r\n%s: %s\r\n\r\n", s.authority, headerNonce, s.nonce, headerClient, sealed)
	}
	other := func(server, key string) string {
		s := statement{nonce: newNonce(), authority: "a.example:443", server: server}
		sealed, err := seal([]byte(key), s, particulars{})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("CONNECT %s HTTP/1.1\r\n%s: %s\r\n%s: %s\r\n\r\n", s.authority, headerNonce, s.nonce, headerClient, sealed)
	}
	tests := []struct{ name, request, want string }{
		{"plain client", connectHead, "403"},
		{"no seal", "CONNECT a.example:443 HTTP/1.1\r\nHalton-Nonce: " + newNonce() + "\r\n\r\n", "403"},
		{"garbage for a seal", handshake(func(_ *statement, sealed *string) { *sealed = "zz" }), "403"},
		{"short seal", handshake(func(_ *statement, sealed *string) { *sealed = "00" }), "403"},
		{"other nonce", handshake(func(s *statement, _ *string) { s.nonce = newNonce() }), "403"},
		{"other target", handshake(func(s *statement, _ *string) { s.authority = "b.example:443" }), "403"},
		{"other key", other(addr, "other"), "403"},
		{"meant for another daemon", other("127.0.0.1:1", string(testKey)), "403"},
		{"speaks before the proof", handshake(func(*statement, *string) {}) + "\x16", "403"},
		{"GET", "GET / HTTP/1.1\r\n\r\n", "400"},
		{"no port", "CONNECT a.example HTTP/1.1\r\n\r\n", "400"},
		{"garbage", "\x16\x03\x01\r\n\r\n", "400"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := dialClient(t, addr)
			c.send(test.request)
			answer := c.status()
			if !strings.HasPrefix(answer, "HTTP/1.1 "+test.want+" ") || strings.Contains(answer, headerProof) {
				t.Errorf("%q, want %s and no proof", answer, test.want)
			}
		})
	}
}

func TestReceiverWithoutKeyRefuses(t *testing.T) {
	addr, _ := serve(t, &Receiver{Handle: func(context.Context, net.Conn, Chain) { t.Error("served") }})
	c := dialClient(t, addr)
	c.send(connectHead)
	if answer := c.status(); !strings.HasPrefix(answer, "HTTP/1.1 403 ") {
		t.Errorf("%q, want 403", answer)
	}
}

// A receiver that has nobody to serve a tunnel says so, and the client goes
// direct.
func TestReceiverWithoutHandlerRefuses(t *testing.T) {
	daemon, _ := serve(t, &Receiver{Key: testKey})
	w := newWorld(t, daemon, nil)
	c := w.connect("\x16")
	c.expect("\x16")
	if s := w.Edge.Status(); s.Reasons["no_handler"] != 1 || s.Lost != 1 {
		t.Errorf("status = %+v", s)
	}
}

// At its end the receiver waits for its handlers, and for nobody who has not
// finished the handshake.
func TestReceiverEnds(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	daemon, stop := serve(t, &Receiver{Key: testKey, HeadTimeout: time.Hour, Handle: func(ctx context.Context, conn net.Conn, _ Chain) {
		close(entered)
		<-ctx.Done()
		<-leave
		io.WriteString(conn, "bye")
		conn.Close()
	}})
	w := newWorld(t, daemon, nil)
	c := w.connect("\x16")
	<-entered
	idle := dialClient(t, daemon)
	ended := make(chan struct{})
	go func() { stop(); close(ended) }()
	if _, err := idle.r.ReadByte(); err == nil {
		t.Error("a byte for an idle connection")
	}
	select {
	case <-ended:
		t.Error("Serve has not waited for its handler")
	default:
	}
	close(leave)
	c.expect("bye")
	<-ended
}
