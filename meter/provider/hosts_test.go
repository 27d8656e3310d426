package provider

import (
	"slices"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	table, err := NewTable(
		Host{Name: "LLM.corp.example.", Format: FormatOpenAIChat, Provider: "corp", BaseURL: "/corp"},
		Host{Name: "claude.corp.example", Format: FormatAnthropicMessages},
		Host{Name: "g.corp.example", Format: FormatGemini, Provider: "google"},
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		method, host, path string
		want               *Endpoint
	}{
		{"POST", "llm.corp.example", "/v1/chat/completions", &Endpoint{Provider: "corp", Format: FormatOpenAIChat, Kind: KindChat}},
		{"POST", "llm.corp.example", "/chat/completions", &Endpoint{Provider: "corp", Format: FormatOpenAIChat, Kind: KindChat}},
		{"POST", "LLM.corp.example.", "//team/a/openai/v1/embeddings?x=1", &Endpoint{Provider: "corp", Format: FormatOpenAIChat, Kind: KindEmbedding}},
		{"POST", "llm.corp.example", "/v1/responses", &Endpoint{Provider: "corp", Format: FormatOpenAIResponses, Kind: KindChat}},
		{"GET", "llm.corp.example", "/v1/models", nil},
		{"POST", "llm.corp.example", "/a/b/c/d/e/f/g/h/i/chat/completions", nil},
		{"POST", "claude.corp.example", "/v1/messages", &Endpoint{Provider: "claude.corp.example", Format: FormatAnthropicMessages, Kind: KindChat}},
		{"POST", "claude.corp.example", "/v1/messages/count_tokens", nil},
		{"POST", "claude.corp.example", "/v1/chat/completions", nil},
		{"POST", "g.corp.example", "/v1beta/models/gemini-x:streamGenerateContent", &Endpoint{Provider: "google", Format: FormatGemini, Kind: KindChat, Model: "gemini-x", Stream: true}},
		{"POST", "other.corp.example", "/v1/chat/completions", nil},
		{"POST", "api.anthropic.com", "/v1/messages", &Endpoint{Provider: "anthropic", Format: FormatAnthropicMessages, Kind: KindChat}},
	} {
		got, ok := table.Lookup(tt.method, tt.host, tt.path)
		if ok != (tt.want != nil) || ok && got != *tt.want {
			t.Errorf("%s %s%s: %+v, %v; want %+v", tt.method, tt.host, tt.path, got, ok, tt.want)
		}
	}
	if !table.IsMetered("llm.corp.example", 443) || table.IsMetered("llm.corp.example", 80) || !table.IsMetered("api.openai.com", 443) || IsMetered("llm.corp.example", 443) {
		t.Error("the wrong hosts are metered")
	}
	if hosts := table.Hosts(); !slices.Contains(hosts, "llm.corp.example") || len(hosts) != len(Hosts())+3 || !slices.IsSorted(hosts) {
		t.Errorf("hosts: %v", hosts)
	}
	if urls := table.BaseURLs(); !slices.Contains(urls, BaseURL{"/corp", "llm.corp.example"}) || len(urls) != len(BaseURLs())+1 {
		t.Errorf("base URLs: %v", urls)
	}
	if added := table.Added(); len(added) != 3 || added[1].Provider != "claude.corp.example" {
		t.Errorf("added: %+v", added)
	}
}

func TestTableRejects(t *testing.T) {
	ok := Host{Name: "llm.corp.example", Format: FormatOpenAIChat}
	with := func(change func(*Host)) []Host {
		h := ok
		change(&h)
		return []Host{h}
	}
	for name, tt := range map[string]struct {
		hosts []Host
		want  string
	}{
		"a port":            {with(func(h *Host) { h.Name = "llm.corp.example:8443" }), "without a port"},
		"a URL":             {with(func(h *Host) { h.Name = "https://llm.corp.example" }), "llm.example.com"},
		"a wildcard":        {with(func(h *Host) { h.Name = "*.corp.example" }), "without a port, a path or a *"},
		"an address":        {with(func(h *Host) { h.Name = "10.1.2.3" }), "no name of a host"},
		"a bare name":       {with(func(h *Host) { h.Name = "localhost" }), "no name of a host"},
		"nothing":           {with(func(h *Host) { h.Name = "" }), "no name of a host"},
		"built in":          {with(func(h *Host) { h.Name = "api.openai.com" }), "metered already"},
		"a built-in domain": {with(func(h *Host) { h.Name = "openai.azure.com" }), "metered already"},
		"twice":             {[]Host{ok, ok}, "named twice"},
		"unknown format":    {with(func(h *Host) { h.Format = "openai" }), "write one of anthropic-batch, anthropic-messages, bedrock-converse"},
		"no format":         {with(func(h *Host) { h.Format = "" }), `format = ""`},
		"bad provider":      {with(func(h *Host) { h.Provider = "My Corp" }), "provider ="},
		"bad base URL":      {with(func(h *Host) { h.BaseURL = "corp" }), "write one such as /acme"},
		"dots":              {with(func(h *Host) { h.BaseURL = "/corp/?x" }), "base_url"},
		"a taken base URL":  {with(func(h *Host) { h.BaseURL = "/openai/corp" }), "begins as /openai"},
		"the project's":     {with(func(h *Host) { h.BaseURL = "/p" }), "the edge needs"},
	} {
		if _, err := NewTable(tt.hosts...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// TestFormatRoutes: each format can be named for a host.
func TestFormatRoutes(t *testing.T) {
	for _, f := range Formats() {
		if _, err := NewTable(Host{Name: "llm.corp.example", Format: f}); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// TestCustomersHost: a customer's host in a cloud of which not everything is
// metered can be added, and one that is metered can get a base URL.
func TestCustomersHost(t *testing.T) {
	table, err := NewTable(
		Host{Name: "mine.cognitiveservices.azure.com", Format: FormatOpenAIChat},
		Host{Name: "mine.openai.azure.com", Format: FormatOpenAIChat, BaseURL: "/azure"},
	)
	if err != nil {
		t.Fatal(err)
	}
	e, ok := table.Lookup("POST", "mine.cognitiveservices.azure.com", "/openai/deployments/my-gpt/chat/completions")
	if !ok || e.Provider != "azure" || e.Model != "my-gpt" || !table.IsMetered("mine.cognitiveservices.azure.com", 443) {
		t.Errorf("the added host: %+v, %v", e, ok)
	}
	if !slices.Contains(table.BaseURLs(), BaseURL{"/azure", "mine.openai.azure.com"}) {
		t.Errorf("base URLs: %v", table.BaseURLs())
	}
}
