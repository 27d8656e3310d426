package capture

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"testing"
)

// upgradeRequest asks for WebSocket as a browser or Codex does, with
// compression (RFC 7692).
const upgradeRequest = "GET /v1/responses?x=1 HTTP/1.1\r\nHost: " + testHost + "\r\n" +
	"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-Websocket-Version: 13\r\n" +
	"Sec-Websocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-Websocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"

// TestUpgrade: an upgraded connection carries bytes both ways untouched,
// beginning with those that came right behind the head.
func TestUpgrade(t *testing.T) {
	noise := make([]byte, 1<<20)
	rand.Read(noise)
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		if got := req.Header.Get("Sec-Websocket-Extensions"); got != "permessage-deflate; client_max_window_bits" {
			t.Errorf("extensions %q", got)
		}
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(buf, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-Websocket-Extensions: permessage-deflate\r\n\r\nfirst frame")
		buf.Flush()
		io.CopyN(conn, buf, int64(len(noise))) // echo
	})
	conn := r.dialTLS(t)
	io.WriteString(conn, upgradeRequest)
	br := bufio.NewReader(conn)
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 101 || res.Header.Get("Sec-Websocket-Extensions") != "permessage-deflate" || res.Header.Get("Date") != "" {
		t.Errorf("%s %v", res.Status, res.Header)
	}
	go conn.Write(noise)
	got, err := io.ReadAll(br)
	if want := append([]byte("first frame"), noise...); !bytes.Equal(got, want) || err != nil {
		t.Errorf("got %d bytes, %v; want %d", len(got), err, len(want))
	}
	if c := r.Counters(); c.Upgraded != 1 || c.Exchanges != 0 {
		t.Errorf("counters: %+v", c)
	}
}

// TestUpgradeRefused: the provider's own answer gets through.
func TestUpgradeRefused(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		w.WriteHeader(http.StatusUpgradeRequired)
		io.WriteString(w, "no")
	})
	conn := r.dialTLS(t)
	io.WriteString(conn, upgradeRequest)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); res.StatusCode != 426 || string(body) != "no" || err != nil {
		t.Errorf("%s %q, %v", res.Status, body, err)
	}
}

// TestUpgradeDrain: an open WebSocket holds the drain up until its time is
// over, and is cut then.
func TestUpgradeDrain(t *testing.T) {
	gone := make(chan struct{})
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(buf, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		buf.Flush()
		io.Copy(io.Discard, buf)
		close(gone)
	})
	conn := r.dialTLS(t)
	io.WriteString(conn, upgradeRequest)
	if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	drained := make(chan error)
	go func() { drained <- r.Shutdown(ctx) }()
	io.WriteString(conn, "still here")
	select {
	case err := <-drained:
		t.Fatalf("drained: %v", err)
	default:
	}
	cancel()
	if err := <-drained; err == nil {
		t.Error("Shutdown says that nothing was cut")
	}
	<-gone
}
