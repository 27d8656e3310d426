package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A stop while four HTTP/2 stacks have a stream open: each reads it to its end,
// and the stream that it begins then, on the same connection, while the daemon
// drains. Debian's httpx fails streams that are open when a GOAWAY comes.
func TestDrainUnderHTTP2(t *testing.T) {
	calls, recs := loadCalls(t)
	i := slices.IndexFunc(calls, func(c call) bool { return c.Path == "/v1/chat/completions" && c.Stream })
	m, upstream := newMachine(t, recs)
	begun, finish := make(chan struct{}, 100), make(chan struct{})
	upstream.Handle("POST /v1/chat/completions", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", recs[i].ContentType)
		half := len(recs[i].ResponseBody) / 2
		io.WriteString(w, recs[i].ResponseBody[:half])
		http.NewResponseController(w).Flush()
		begun <- struct{}{}
		<-finish
		io.WriteString(w, recs[i].ResponseBody[half:])
	}))
	const target = "https://api.openai.com/v1/chat/completions"
	post := []string{"-H", "Authorization: Bearer sk-planted-key", "-H", "Content-Type: application/json",
		"--data-binary", `{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"planted prompt"}]}`, target}
	curl := slices.Concat([]string{"curl", "-sS", "--http2", "--no-buffer"}, post, []string{"--next", "-sS", "--http2", "--no-buffer"}, post)
	program := func(argv ...string) func() string {
		return func() string {
			got, errs := m.outcome(nil, slices.Concat([]string{m.program, "run", "--project", "acme", "--"}, argv))
			if got.code != 0 {
				t.Errorf("%s: exit code %d\n%s", argv[0], got.code, errs)
			}
			return got.out
		}
	}
	clients := map[string]func() string{
		"httpx": program("/usr/bin/python3", script(t, "post_twice.py"), target),
		"Node":  program(node(t), script(t, "node/post_twice.mjs"), target),
		"curl":  program(curl...),
		"Go":    func() string { return m.postTwice(target) },
	}
	var playing sync.WaitGroup
	for name, play := range clients {
		playing.Go(func() {
			want := strings.Repeat(recs[i].ResponseBody, 2)
			if got := play(); got != want {
				t.Errorf("%s read %d bytes, want %d", name, len(got), len(want))
			}
			begun <- struct{}{} // or the test would wait for one that failed at once
		})
	}
	for range clients {
		<-begun
	}
	var stopping sync.WaitGroup
	stopping.Go(func() {
		if _, code := m.halton("stop"); code != 0 {
			t.Errorf("stop: exit code %d", code)
		}
	})
	m.awaitDrain()
	close(finish)
	playing.Wait()
	stopping.Wait()
	rows := m.export()
	if want := 2 * len(clients); len(rows) != want {
		t.Errorf("%d rows of %d exchanges", len(rows), want)
	}
	for _, r := range rows {
		calls[i].check(t, r, "acme")
	}
	checkNoSecrets(t, m)
}

// postTwice is what post_twice.py does.
func (m *machine) postTwice(target string) string {
	m.Helper()
	_, edge := m.ports()
	bundle, err := os.ReadFile(filepath.Join(m.home, ".halton-meter", "ca", "bundle.pem"))
	if err != nil {
		m.Error(err)
		return ""
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	tr := &http.Transport{
		Proxy:             http.ProxyURL(&url.URL{Scheme: "http", User: url.User("acme"), Host: fmt.Sprintf("127.0.0.1:%d", edge)}),
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
	}
	defer tr.CloseIdleConnections()
	var all strings.Builder
	for range 2 {
		res, err := (&http.Client{Transport: tr}).Post(target, "application/json", strings.NewReader(`{"stream":true}`))
		if err != nil {
			m.Error(err)
			break
		}
		if _, err := io.Copy(&all, res.Body); err != nil || res.ProtoMajor != 2 {
			m.Errorf("%s: %v", res.Proto, err)
		}
		res.Body.Close()
	}
	return all.String()
}

// awaitDrain returns when the daemon says that it is not healthy any more.
func (m *machine) awaitDrain() {
	m.Helper()
	data, err := os.ReadFile(filepath.Join(m.home, ".halton-meter", "effective-ports.json"))
	if err != nil {
		m.Fatal(err)
	}
	var rec struct {
		API int `json:"api_port"`
	}
	if err := json.Unmarshal(data, &rec); err != nil {
		m.Fatal(err)
	}
	for m.Context().Err() == nil {
		res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/health", rec.API))
		if err != nil {
			m.Fatalf("gone before the end of its calls: %v", err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return
		}
		time.Sleep(10 * time.Millisecond) // a drain has no event for others
	}
}
