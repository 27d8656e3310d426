package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
)

// openAI is a stand-in for the provider, and the transport that leads there.
func openAI(status int, answer string) (base http.RoundTripper, stop func()) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "api.openai.com" || r.URL.Path != "/v1/chat/completions" {
			status = http.StatusNotFound
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, answer)
	}))
	roots := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	return &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, srv.Listener.Addr().String())
		},
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}, // httptest's certificate
	}, srv.Close
}

func Example() {
	os.Setenv("OPENAI_API_KEY", "sk-none")
	base, stop := openAI(http.StatusOK, `{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o-2024-08-06",
		"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"Hello!"}}],
		"usage":{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100}}`)
	defer stop()
	if err := ask(context.Background(), base, "Say hello."); err != nil {
		fmt.Println(err)
	}
	// Unordered output:
	// Hello!
	// gpt-4o-2024-08-06 cost 3500000 nano-USD: success
}

func TestProviderError(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "sk-none")
	base, stop := openAI(http.StatusUnauthorized, `{"error":{"message":"no","code":"invalid_api_key"}}`)
	defer stop()
	if err := ask(t.Context(), base, "Say hello."); err == nil {
		t.Error("the provider's error is lost")
	}
}

// The example is as short as it says.
func TestLength(t *testing.T) {
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(source, []byte("\n")); n >= 40 {
		t.Errorf("main.go has %d lines", n)
	}
}
