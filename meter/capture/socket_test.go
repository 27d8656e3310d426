package capture

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/meter/tap"
)

// socketProvider is a provider that accepts WebSockets and gives them to serve.
func socketProvider(t *testing.T, serve func(conn net.Conn, br *bufio.Reader)) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(buf, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
		buf.Flush()
		serve(conn, buf.Reader)
	}
}

// newSocketRig has the tap read WebSockets, and gives what is opened, and what
// is taken back, to the test.
func newSocketRig(t *testing.T, h http.HandlerFunc) (r *rig, opened, voided chan string) {
	opened, voided = make(chan string, 100), make(chan string, 100)
	r = newRig(t, h, func(r *rig) {
		r.Lookup = provider.Lookup
		r.Opened = func(x *tap.Exchange) { opened <- x.ID }
		r.Tap.Void = func(x tap.Exchange) { voided <- x.ID }
	})
	return r, opened, voided
}

// upgrade opens a WebSocket through the interceptor.
func upgrade(t *testing.T, r *rig) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn := r.dialTLS(t)
	io.WriteString(conn, upgradeRequest)
	br := bufio.NewReader(conn)
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatal(res, err)
	}
	return conn, br
}

// textFrame is a message of fewer than 126 bytes without a mask.
func textFrame(text string) string { return "\x81" + string(rune(len(text))) + text }

const (
	askFrame    = `{"type":"response.create","model":"gpt-5"}`
	answerFrame = `{"type":"response.completed","response":{"id":"r1","usage":{"input_tokens":8,"output_tokens":3}}}`
)

// TestSocketRecords: each response on a WebSocket makes a record, which was
// opened before the provider saw the request.
func TestSocketRecords(t *testing.T) {
	var r *rig
	var opened, voided chan string
	ids := make(chan string, 10)
	r, opened, voided = newSocketRig(t, socketProvider(t, func(conn net.Conn, br *bufio.Reader) {
		ask := make([]byte, len(textFrame(askFrame)))
		for {
			if _, err := io.ReadFull(br, ask); err != nil {
				return
			}
			select {
			case id := <-opened:
				ids <- id
			default:
				t.Error("the provider has a request of which nothing is known")
			}
			io.WriteString(conn, textFrame(answerFrame))
		}
	}))
	conn, br := upgrade(t, r)
	if handshake := <-opened; handshake != <-voided {
		t.Error("the upgrade itself was not taken back")
	}
	for range 3 {
		io.WriteString(conn, textFrame(askFrame))
		answer := make([]byte, len(textFrame(answerFrame)))
		if _, err := io.ReadFull(br, answer); err != nil || string(answer) != textFrame(answerFrame) {
			t.Fatal(string(answer), err)
		}
		rec := r.record(t, tap.Completed) // while the socket is open
		if rec.ID != <-ids || rec.Model != "gpt-5" || rec.Usage == nil || rec.Usage.Input != 8 || !rec.Complete || rec.HTTPStatus != 101 ||
			rec.Path != "/v1/responses" || rec.ProxyUser != "acme" {
			t.Errorf("%+v", rec)
		}
	}
	io.WriteString(conn, textFrame(askFrame)[:20]) // half a request
	conn.Close()
	if half := <-opened; half != <-voided {
		t.Error("half a request was not taken back")
	}
}

// TestSocketCut: a response that was under way when either end left has a
// record that is not complete.
func TestSocketCut(t *testing.T) {
	for _, tt := range []struct {
		name  string
		leave func(conn net.Conn)
		want  tap.Outcome
	}{
		{"the client", func(conn net.Conn) { conn.Close() }, tap.ClientAborted},
		{"the provider", func(conn net.Conn) { io.WriteString(conn, textFrame("leave")) }, tap.UpstreamFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, _, _ := newSocketRig(t, socketProvider(t, func(conn net.Conn, br *bufio.Reader) {
				br.Discard(len(textFrame(askFrame)))
				io.WriteString(conn, textFrame(`{"type":"response.created","response":{"id":"r1"}}`))
				br.ReadByte() // whatever comes now
			}))
			conn, br := upgrade(t, r)
			io.WriteString(conn, textFrame(askFrame))
			if _, err := br.ReadByte(); err != nil {
				t.Fatal(err)
			}
			tt.leave(conn)
			rec := r.record(t, tt.want)
			if rec.Complete || rec.ResponseID != "r1" || !strings.Contains(rec.Reason, "broke off") {
				t.Errorf("%+v", rec)
			}
		})
	}
}

// TestSocketRefused: an upgrade that the provider refuses is an exchange.
func TestSocketRefused(t *testing.T) {
	r, _, _ := newSocketRig(t, func(w http.ResponseWriter, req *http.Request) {
		w.WriteHeader(http.StatusTooManyRequests)
		io.WriteString(w, `{"error":{"code":"insufficient_quota"}}`)
	})
	conn := r.dialTLS(t)
	io.WriteString(conn, upgradeRequest)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != 429 {
		t.Fatal(res, err)
	}
	if _, err := io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	if rec := r.record(t, tap.Completed); rec.HTTPStatus != 429 || rec.ErrorCode != "insufficient_quota" {
		t.Errorf("%+v", rec)
	}
}

// TestSocketDrain: an idle WebSocket is closed with 1001 (going away) while
// the daemon drains, and one with a response under way when that is over.
func TestSocketDrain(t *testing.T) {
	r, _, _ := newSocketRig(t, socketProvider(t, func(conn net.Conn, br *bufio.Reader) {
		if _, err := br.Discard(len(textFrame(askFrame))); err != nil {
			return
		}
		io.WriteString(conn, textFrame(`{"type":"response.created","response":{"id":"r1"}}`))
		if _, err := br.Discard(len(textFrame("go on"))); err == nil {
			io.WriteString(conn, textFrame(answerFrame))
		}
		io.Copy(io.Discard, br)
	}))
	idle, idleReader := upgrade(t, r)
	defer idle.Close()
	busy, busyReader := upgrade(t, r)
	defer busy.Close()
	io.WriteString(busy, textFrame(askFrame))
	if _, err := busyReader.ReadByte(); err != nil {
		t.Fatal(err)
	}
	drained := make(chan error)
	go func() { drained <- r.Shutdown(context.Background()) }()

	const goodbye = "\x88\x02\x03\xe9"
	if got, err := io.ReadAll(idleReader); string(got) != goodbye || err != nil {
		t.Errorf("the idle one read %q, %v", got, err)
	}
	idle.Close()
	io.WriteString(busy, textFrame("go on"))
	if got, err := io.ReadAll(busyReader); !strings.HasSuffix(string(got), textFrame(answerFrame)+goodbye) || err != nil {
		t.Errorf("the busy one read %q, %v", got, err)
	}
	busy.Close()
	if err := <-drained; err != nil {
		t.Error(err)
	}
	r.record(t, tap.Completed)
}
