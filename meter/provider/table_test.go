package provider

import (
	"slices"
	"testing"
)

func TestLookup(t *testing.T) {
	anthropic := Endpoint{Provider: "anthropic", Format: FormatAnthropicMessages, Kind: KindChat}
	chat := Endpoint{Provider: "openai", Format: FormatOpenAIChat, Kind: KindChat}
	responses := Endpoint{Provider: "openai", Format: FormatOpenAIResponses, Kind: KindChat}
	embeddings := Endpoint{Provider: "openai", Format: FormatOpenAIChat, Kind: KindEmbedding}
	retrieve := responses
	retrieve.Retrieve = true
	none := Endpoint{}
	for _, tt := range []struct {
		method, host, path string
		want               Endpoint
	}{
		{"POST", "api.anthropic.com", "/v1/messages", anthropic},
		{"POST", "API.Anthropic.com.", "/v1/messages", anthropic},
		{"POST", "api.anthropic.com", "/v1/messages?beta=true", anthropic},
		{"POST", "api.anthropic.com", "//v1/messages", anthropic},
		{"GET", "api.anthropic.com", "/v1/messages", none},
		{"POST", "api.anthropic.com", "/v1/messages/count_tokens", none},
		{"POST", "api.anthropic.com", "/v1/messages/batches", none},
		{"POST", "api.anthropic.com", "/v1/chat/completions", none},
		{"POST", "api.openai.com", "/v1/chat/completions", chat},
		{"POST", "api.openai.com", "/v1/completions", chat},
		{"POST", "api.openai.com", "/v1/embeddings", embeddings},
		{"POST", "api.openai.com", "/v1/responses", responses},
		{"POST", "api.openai.com", "/v1/responses/compact", responses},
		{"GET", "api.openai.com", "/v1/responses/resp_1", retrieve},
		{"GET", "api.openai.com", "/v1/responses/", none},
		{"GET", "api.openai.com", "/v1/responses/resp_1/input_items", none},
		{"POST", "api.openai.com", "/v1/responses/resp_1", none},
		{"GET", "api.openai.com", "/v1/models", none},
		{"POST", "api.openai.com", "/v1/vector_stores", none},
		{"POST", "api.openai.com", "/v1/files", none},
		{"POST", "api.openai.com", "/responses", none},
		{"POST", "api.openai.com.example.org", "/v1/responses", none},
		{"POST", "", "", none},
	} {
		got, ok := Lookup(tt.method, tt.host, tt.path)
		if got != tt.want || ok != (tt.want != none) {
			t.Errorf("Lookup(%q, %q, %q) = %+v, %v; want %+v", tt.method, tt.host, tt.path, got, ok, tt.want)
		}
	}
}

func TestHosts(t *testing.T) {
	hosts := Hosts()
	if want := []string{"api.anthropic.com", "api.openai.com"}; !slices.Equal(hosts, want) {
		t.Errorf("Hosts() = %q, want %q", hosts, want)
	}
	for _, host := range hosts {
		if !IsMetered(host, 443) || IsMetered(host, 80) || IsMetered("x."+host, 443) {
			t.Errorf("IsMetered is wrong about %s", host)
		}
	}
}

func TestUnknownFormat(t *testing.T) {
	p := Endpoint{Format: "carrier-pigeon"}.NewParser()
	p.Request([]byte(`{"model":"m"}`))
	p.Event("", []byte(`{}`))
	p.Body(500, []byte(`x`))
	got := p.Result(true)
	if got.Usage != nil || got.Complete || got.Reason == "" || got.Model != "m" || got.ErrorClass != "server_error" {
		t.Errorf("%+v", got)
	}
}
