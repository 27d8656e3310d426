package transport_test

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/meter/transport"
)

// What is not metered reaches the base as it is, and comes back as it is.
func TestUnmetered(t *testing.T) {
	var seen *http.Request
	want := respond(200, "text/plain", io.NopCloser(strings.NewReader("x")))
	body := want.Body
	m, sink := meter(t, func(req *http.Request) (*http.Response, error) {
		seen = req
		return want, nil
	})
	for _, url := range []string{"https://example.com/v1/chat/completions", "https://api.openai.com/v1/models", "http://127.0.0.1:8081/openai/v1/chat/completions"} {
		req := post(t, t.Context(), url, "{}")
		if resp, err := m.RoundTrip(req); resp != want || resp.Body != body || seen != req || err != nil {
			t.Errorf("%s: the request or the response is another one (%v)", url, err)
		}
	}
	m.Lookup = func(string, string, string) (provider.Endpoint, bool) { panic("hostile") }
	if resp, err := m.RoundTrip(post(t, t.Context(), chat, "{}")); resp != want || err != nil {
		t.Errorf("Lookup panics: %v, %v", resp, err)
	}
	if n := len(sink.flush(m)); n != 0 {
		t.Errorf("%d records", n)
	}
}

// The base gets the request as the program made it, and the program's own
// request is as it was.
func TestRequestUnchanged(t *testing.T) {
	const body = `{"model":"gpt-4o"}`
	for _, mode := range []string{"in memory", "a stream", "none"} {
		req := post(t, t.Context(), chat, body)
		switch mode {
		case "a stream":
			req.Body, req.GetBody, req.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader(body))), nil, -1
		case "none":
			req.Body, req.GetBody, req.ContentLength = nil, nil, 0
		}
		before, header := *req, req.Header.Clone()
		var resp *http.Response
		m, sink := meter(t, func(out *http.Request) (*http.Response, error) {
			if !maps.EqualFunc(out.Header, header, slices.Equal) || out.URL != req.URL || out.Method != req.Method ||
				out.ContentLength != req.ContentLength || out.Context() != req.Context() || (out.GetBody == nil) != (req.GetBody == nil) || (out.Body == nil) != (req.Body == nil) {
				t.Errorf("%s: the base gets %+v", mode, out)
			}
			if out.Body != nil {
				if got, err := io.ReadAll(out.Body); string(got) != body || err != nil {
					t.Errorf("%s: the base reads %q, %v", mode, got, err)
				}
				out.Body.Close()
			}
			resp = respond(200, "application/json", io.NopCloser(strings.NewReader(answer)))
			resp.Request = out
			return resp, nil
		})
		got, err := m.RoundTrip(req)
		if err != nil || got != resp || got.Request != req {
			t.Errorf("%s: got %+v, %v", mode, got, err)
		}
		if req.Body != before.Body || !maps.EqualFunc(req.Header, header, slices.Equal) || req.URL != before.URL {
			t.Errorf("%s: the program's request changed", mode)
		}
		io.Copy(io.Discard, got.Body)
		want := "gpt-4o"
		if mode == "none" {
			want = ""
		}
		if r := sink.only(m); r.RequestedModel != want {
			t.Errorf("%s: requested model %q", mode, r.RequestedModel)
		}
	}
}

// A transport that sends a request anew gets the whole body again; the meter
// counts it once.
func TestBodySentAgain(t *testing.T) {
	const body = `{"model":"gpt-4o","messages":[]}`
	for _, first := range []int64{0, 5, int64(len(body)), int64(len(body)) + 1} {
		m, sink := meter(t, func(req *http.Request) (*http.Response, error) {
			if _, err := io.CopyN(io.Discard, req.Body, first); err != nil && err != io.EOF {
				t.Error(err)
			}
			req.Body.Close()
			again, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			if got, err := io.ReadAll(again); string(got) != body || err != nil {
				t.Errorf("the second time: %q, %v", got, err)
			}
			return respond(200, "application/json", io.NopCloser(strings.NewReader(answer))), again.Close()
		})
		call := post(t, t.Context(), chat, body)
		resp, err := m.RoundTrip(call)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		if r := sink.only(m); r.RequestedModel != "gpt-4o" {
			t.Errorf("after %d bytes: requested model %q", first, r.RequestedModel)
		}
	}
	failed := errors.New("the file is gone")
	m, sink := meter(t, func(req *http.Request) (*http.Response, error) {
		if _, err := req.GetBody(); err != failed {
			t.Errorf("GetBody: %v", err)
		}
		return nil, failed
	})
	req := post(t, t.Context(), chat, body)
	req.GetBody = func() (io.ReadCloser, error) { return nil, failed }
	if _, err := m.RoundTrip(req); err != failed {
		t.Error(err)
	}
	sink.only(m)
}

// server is a provider on this machine, and a Transport that leads there.
func server(t *testing.T, h http.HandlerFunc, set func(*http.Transport)) (*http.Client, *transport.Transport, *records) {
	t.Helper()
	srv := httptest.NewTLSServer(h)
	t.Cleanup(srv.Close)
	base := &http.Transport{
		Dial:            func(string, string) (net.Conn, error) { return net.Dial("tcp", srv.Listener.Addr().String()) },
		TLSClientConfig: &tls.Config{RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"},
	}
	if set != nil {
		set(base)
	}
	t.Cleanup(base.CloseIdleConnections)
	sink := &records{t: t}
	m := &transport.Transport{Base: base, Sink: sink}
	return &http.Client{Transport: m}, m, sink
}

// Each piece of a stream is there before the provider sends the next one.
func TestStreamIsNotHeldUp(t *testing.T) {
	next := make(chan struct{})
	client, m, sink := server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, event := range stream {
			io.WriteString(w, event)
			http.NewResponseController(w).Flush()
			<-next
		}
	}, nil)
	resp, err := client.Do(post(t, t.Context(), chat, `{"stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, event := range stream {
		got := make([]byte, len(event))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != event {
			t.Fatalf("read %q, %v", got, err)
		}
		next <- struct{}{}
	}
	if _, err := resp.Body.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if r := sink.only(m); r.Cost.NanoUSD != answerCost || !r.Stream {
		t.Errorf("got %+v", r)
	}
}

// Compression that http.Transport takes off by itself, and that which the
// program asked for and takes off itself.
func TestCompression(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	io.WriteString(w, answer)
	w.Close()
	for _, asked := range []bool{false, true} {
		client, m, sink := server(t, func(w http.ResponseWriter, req *http.Request) {
			if req.Header.Get("Accept-Encoding") != "gzip" {
				t.Errorf("Accept-Encoding %q", req.Header.Get("Accept-Encoding"))
			}
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(packed.Bytes())
		}, nil)
		req := post(t, t.Context(), chat, "{}")
		want := []byte(answer)
		if asked {
			req.Header.Set("Accept-Encoding", "gzip")
			want = packed.Bytes()
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if !bytes.Equal(got, want) || err != nil || resp.Uncompressed == asked {
			t.Errorf("asked %v: read %d bytes, %v, uncompressed %v", asked, len(got), err, resp.Uncompressed)
		}
		if r := sink.only(m); r.Cost.NanoUSD != answerCost || !r.Complete {
			t.Errorf("asked %v: %+v", asked, r)
		}
	}
	// Another transport may leave the field in place.
	m, sink := meter(t, func(*http.Request) (*http.Response, error) {
		resp := respond(200, "application/json", io.NopCloser(strings.NewReader(answer)))
		resp.Header.Set("Content-Encoding", "gzip")
		resp.Uncompressed = true
		return resp, nil
	})
	resp, err := m.RoundTrip(post(t, t.Context(), chat, "{}"))
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	if r := sink.only(m); resp.Header.Get("Content-Encoding") != "gzip" || r.Cost.NanoUSD != answerCost {
		t.Errorf("header %v, record %+v", resp.Header, r)
	}
}

// A switched protocol is the program's: both directions, and their end.
func TestUpgrade(t *testing.T) {
	for path, protocol := range map[string]string{"/v1/chat/completions": "echo", "/v1/responses": "websocket"} {
		client, m, sink := server(t, func(w http.ResponseWriter, _ *http.Request) {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\n\r\n")
			io.Copy(conn, rw)
		}, nil)
		req, err := http.NewRequest(http.MethodGet, "https://api.openai.com"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", protocol)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		conn, ok := resp.Body.(io.ReadWriteCloser)
		if resp.StatusCode != http.StatusSwitchingProtocols || !ok {
			t.Fatalf("%s: status %d, body %T", path, resp.StatusCode, resp.Body)
		}
		for _, say := range []string{"hello", "\x81\x02{}"} {
			io.WriteString(conn, say)
			got := make([]byte, len(say))
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != say {
				t.Errorf("%s: read %q, %v", path, got, err)
			}
		}
		conn.Close()
		if _, err := conn.Write([]byte("x")); err == nil {
			t.Errorf("%s: a write after Close succeeds", path)
		}
		sink.flush(m)
	}
}

// On a WebSocket that is known each response makes a record.
func TestWebSocket(t *testing.T) {
	frame := func(mask bool, text string) string {
		b := []byte{0x81, 126, byte(len(text) >> 8), byte(len(text))}
		if mask {
			b[1] |= 0x80
			b = append(b, 0, 0, 0, 0) // RFC 6455, section 5.3: a key of zeros changes nothing
		}
		return string(b) + text
	}
	const create = `{"type":"response.create","model":"gpt-4o","input":"hi","padding":"..........................................................................."}`
	const done = `{"type":"response.completed","response":{"id":"resp_1","model":"gpt-4o-2024-08-06","status":"completed","usage":{"input_tokens":1000,"output_tokens":100,"total_tokens":1100}}}`
	m, sink := meter(t, func(*http.Request) (*http.Response, error) {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			for range 2 {
				io.ReadFull(far, make([]byte, len(frame(true, create))))
				io.WriteString(far, frame(false, done))
			}
		}()
		resp := respond(http.StatusSwitchingProtocols, "", near)
		resp.Header.Set("Upgrade", "websocket")
		return resp, nil
	})
	req, err := http.NewRequest(http.MethodGet, "https://api.openai.com/v1/responses", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Upgrade", "websocket")
	resp, err := m.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	conn := resp.Body.(io.ReadWriteCloser)
	for range 2 {
		io.WriteString(conn, frame(true, create))
		got := make([]byte, len(frame(false, done)))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != frame(false, done) {
			t.Fatalf("read %q, %v", got, err)
		}
	}
	conn.Close()
	all := sink.flush(m)
	if len(all) != 2 || all[0].ID == all[1].ID || all[0].Cost.NanoUSD != answerCost || !all[1].Complete {
		t.Errorf("%d records: %+v", len(all), all)
	}
}
