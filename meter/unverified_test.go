package meter_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/ledger"
)

// A provider whose certificate does not verify gets nothing: the call fails
// and has a row, the next one passes unmetered, and /health names the host.
func TestUnverifiedProvider(t *testing.T) {
	w := newWorld(t)
	w.config.RootCAs = x509.NewCertPool() // which vouches for nobody
	w.start()
	c := w.client()
	resp, err := c.Post("https://api.anthropic.com/v1/messages", "application/json", strings.NewReader("{}"))
	if err == nil {
		resp.Body.Close()
		t.Fatalf("an answer: %s", resp.Status)
	}
	if resp, err = c.Post("https://api.anthropic.com/v1/messages", "application/json", strings.NewReader("{}")); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if n := len(w.upstream.Seen()); n != 1 {
		t.Errorf("the provider saw %d calls, want the one that passed", n)
	}
	health, err := http.Get("http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(w.record().Ports["api"])) + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer health.Body.Close()
	var told struct{ Warnings []string }
	if err := json.NewDecoder(health.Body).Decode(&told); err != nil || len(told.Warnings) != 1 ||
		!strings.HasPrefix(told.Warnings[0], "the certificate of api.anthropic.com does not verify") {
		t.Errorf("/health tells %q, %v", told.Warnings, err)
	}
	if err := w.wait(); err != nil {
		t.Error(err)
	}
	if rows := w.rows(); len(rows) != 1 || rows[0].Status != "error" || rows[0].HTTPStatus != nil {
		t.Errorf("%+v", rows)
	}
}

// The responses on a WebSocket become rows, and the daemon ends while the
// WebSocket is open.
func TestAWebSocketBecomesRows(t *testing.T) {
	const ask = `{"type":"response.create","model":"gpt-5"}`
	const answer = `{"type":"response.completed","response":{"id":"r1","model":"gpt-5","usage":{"input_tokens":8,"output_tokens":3}}}`
	frame := func(text string) string { return "\x81" + string(rune(len(text))) + text }
	w := newWorld(t)
	w.upstream.Handle("GET /v1/responses", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		conn, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		for {
			if _, err := buf.Discard(len(frame(ask))); err != nil {
				return
			}
			io.WriteString(conn, frame(answer))
		}
	}))
	w.start()
	raw, err := net.Dial("tcp", w.edge)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	fmt.Fprint(raw, "CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n")
	if res, err := http.ReadResponse(bufio.NewReader(raw), nil); err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	config := w.client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName = "api.openai.com"
	conn := tls.Client(raw, config)
	fmt.Fprint(conn, "GET /v1/responses HTTP/1.1\r\nHost: api.openai.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	br := bufio.NewReader(conn)
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
		t.Fatal(res, err)
	}
	for range 3 {
		io.WriteString(conn, frame(ask))
		if _, err := br.Discard(len(frame(answer))); err != nil {
			t.Fatal(err)
		}
	}
	w.stop()
	if goodbye, err := io.ReadAll(br); string(goodbye) != "\x88\x02\x03\xe9" || err != nil {
		t.Errorf("at the end: %q, %v", goodbye, err)
	}
	conn.Close()
	if err := w.wait(); err != nil {
		t.Error(err)
	}
	rows := w.rows()
	if len(rows) != 3 {
		t.Fatalf("%d rows: %+v", len(rows), rows)
	}
	for _, r := range rows {
		if r.Provider != "openai" || r.Model != "gpt-5" || !r.TokensComplete || *r.InputTokens != 8 || *r.OutputTokens != 3 ||
			r.CostNanoUSD == nil || r.Status != "success" || r.Path != "/v1/responses" {
			t.Errorf("%s", show(r))
		}
	}
}

func show(r ledger.Row) string {
	b, err := json.Marshal(r)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
