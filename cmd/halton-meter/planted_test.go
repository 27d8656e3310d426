package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
)

// What a user says to a model, and what proves who the user is, must lie
// nowhere: each of these is planted in one place of an exchange.
var planted = map[string]string{
	"the prompt":               "PLANTED-prompt",
	"the completion":           "PLANTED-completion",
	"a request's header":       "PLANTED-request-header",
	"a response's header":      "PLANTED-response-header",
	"the API key":              "PLANTED-api-key",
	"the bearer token":         "PLANTED-bearer",
	"the URL's query":          "PLANTED-query",
	"the proxy's password":     "PLANTED-proxy-password",
	"a provider's error":       "PLANTED-error-message",
	"a trailer":                "PLANTED-trailer",
	"a body that is not coded": "PLANTED-garbage",
	"a tool's arguments":       "PLANTED-arguments",
	"what nobody asked for":    "PLANTED-unasked",
	"a broken response's head": "PLANTED-broken",
}

// talkative is a provider that repeats secrets in every way that it can.
func talkative(release <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Secret", planted["a response's header"])
		w.Header().Set("Trailer", "X-Trailer")
		defer w.Header().Set("X-Trailer", planted["a trailer"])
		w.Header().Set("Content-Type", "application/json")
		const message = `{"id":"msg_1","type":"message","model":"claude-sonnet-4-5","content":[{"type":"text","text":%q},{"type":"tool_use","name":"grep","input":{"x":%q}}],"usage":{"input_tokens":3,"output_tokens":5}}`
		answer := fmt.Sprintf(message, planted["the completion"], planted["a tool's arguments"])
		switch r.URL.Query().Get("how") {
		case "error":
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"type":"error","error":{"type":"invalid_request_error","message":%q}}`, planted["a provider's error"])
		case "garbage":
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, planted["a body that is not coded"])
		case "gzip":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			io.WriteString(z, answer)
			z.Close()
		case "unasked":
			hijacked(w, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"+planted["what nobody asked for"])
		case "broken":
			hijacked(w, "HTTP/1.1 200 OK\r\n"+planted["a broken response's head"]+"\r\n\r\n")
		case "cut":
			w.Header().Set("Content-Length", "100000")
			io.WriteString(w, answer)
			_ = http.NewResponseController(w).Flush() // so that the client has a part
			panic(http.ErrAbortHandler)
		case "stream", "hang":
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprintf(w, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_2\",\"model\":\"claude-sonnet-4-5\",\"usage\":{\"input_tokens\":3}}}\n\n"+
				"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":%q}}\n\n", planted["the completion"])
			if http.NewResponseController(w).Flush() != nil {
				return
			}
			if r.URL.Query().Get("how") == "hang" {
				select {
				case <-release:
				case <-r.Context().Done():
				}
				return
			}
			io.WriteString(w, "event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":7}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
		default:
			io.WriteString(w, answer)
		}
	}
}

// hijacked answers with text, however wrong that is.
func hijacked(w http.ResponseWriter, text string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err) // HTTP/2
	}
	defer conn.Close()
	io.WriteString(conn, text)
}

// say sends a request that is full of secrets to base, and returns the answer.
func say(ctx context.Context, c *http.Client, base, how string) (*http.Response, error) {
	body := fmt.Sprintf(`{"model":"claude-sonnet-4-5","messages":[{"role":"user","content":%q}]}`, planted["the prompt"])
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		base+"/v1/messages?how="+how+"&key="+planted["the URL's query"], strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Api-Key", planted["the API key"])
	req.Header.Set("Authorization", "Bearer "+planted["the bearer token"])
	req.Header.Set("X-Other", planted["a request's header"])
	return c.Do(req)
}

// No secret of any exchange lies in the state directory: not while the daemon
// runs, not after it was killed, and not in the end.
func TestNoSecretIsStored(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	release := make(chan struct{})
	defer close(release)
	m.provider.Handle("POST /v1/messages", talkative(release))
	client := m.client("")
	tr := client.Transport.(*http.Transport)
	through := tr.Proxy
	tr.Proxy = func(r *http.Request) (*url.URL, error) {
		u, err := through(r)
		if err != nil {
			return nil, err
		}
		own := *u
		own.User = url.UserPassword("shop", planted["the proxy's password"])
		return &own, nil
	}
	edge := "http://" + agents.EdgeAddress(agents.EdgePort(m.paths()))
	direct := &http.Client{Transport: &http.Transport{}}
	exchanges := 0
	speak := func(c *http.Client, base, how string) {
		t.Helper()
		exchanges++
		resp, err := say(t.Context(), c, base, how)
		if how == "broken" {
			if err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK {
				t.Errorf("%s: %s", how, resp.Status)
			}
			return
		}
		if err != nil {
			t.Errorf("%s: %v", how, err)
			return
		}
		defer resp.Body.Close()
		// What is cut or garbled fails here, as it does without a meter.
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	const provider = "https://api.anthropic.com"
	for _, how := range []string{"ok", "gzip", "stream", "error", "garbage", "cut"} {
		speak(client, provider, how)
		speak(direct, edge+"/anthropic", how)
		speak(direct, edge+"/p/shop/anthropic", how)
	}
	for _, how := range []string{"unasked", "broken"} { // in HTTP/1
		speak(direct, edge+"/anthropic", how)
	}
	speak(client, "http://api.anthropic.com", "ok") // plain

	aborted, cancel := context.WithCancel(t.Context())
	resp, err := say(aborted, client, provider, "hang")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	resp.Body.Close()
	exchanges++

	// A client that does not trust the certificate, until it passes.
	strange := m.client("")
	roots, err := os.ReadFile(m.provider.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	strange.Transport.(*http.Transport).TLSClientConfig.RootCAs = pool
	m.waitFor("the stranger to pass", func() bool {
		resp, err := say(t.Context(), strange, provider, "ok")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil
	})
	m.wantNoSecret("while the daemon runs")

	hanging, err := say(t.Context(), direct, edge+"/anthropic", "hang")
	if err != nil {
		t.Fatal(err)
	}
	exchanges++
	rep, _ := m.status()
	if err := syscall.Kill(rep.component("daemon").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	hanging.Body.Close()
	m.wantNoSecret("after the kill")
	speak(client, provider, "ok") // perhaps through the edge alone
	exchanges--
	m.must(0, "start")
	if rows := m.export(); len(rows) < exchanges {
		t.Errorf("%d rows for %d exchanges: nothing was looked at", len(rows), exchanges)
	}
	m.must(0, "stop")
	m.wantNoSecret("in the end")
	for _, args := range [][]string{{"export"}, {"report"}, {"status", "--json"}} {
		r := m.halton(args...)
		for what, secret := range planted {
			if strings.Contains(r.out+r.err, secret) {
				t.Errorf("%s prints %s", args[0], what)
			}
		}
	}
}

// wantNoSecret looks through everything below HOME.
func (m *machine) wantNoSecret(when string) {
	m.Helper()
	files, found := 0, false
	err := filepath.WalkDir(m.home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil // a segment that was just stored
		}
		files++
		found = found || bytes.Contains(data, []byte("claude-sonnet-4-5")) && strings.Contains(path, "db.sqlite")
		for what, secret := range planted {
			if bytes.Contains(data, []byte(secret)) {
				m.Errorf("%s: %s lies in %s", when, what, path)
			}
		}
		return err
	})
	if err != nil {
		m.Error(err)
	}
	if files < 10 || !found {
		m.Errorf("%s: looked at %d files, and did not find what is there", when, files)
	}
}
