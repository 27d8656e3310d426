package main

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestAddedHost: a host of the configuration is metered through its base URL
// too; with include_usage its streams name their usage in the row, and the
// client reads the bytes that it would have read without.
func TestAddedHost(t *testing.T) {
	t.Parallel()
	const host = "llm.corp.example"
	m := newMachine(t, freePorts(t)+"\n[openai]\ninclude_usage = true\n[providers.\""+host+"\"]\nformat = \"openai-chat\"\nprovider = \"openai\"\nbase_url = \"/corp\"\n", host)
	const plain = "data: {\"model\":\"gpt-5\",\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\ndata: [DONE]\n\n"
	m.provider.Handle("POST /v1/chat/completions", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		stream := plain
		if seen := m.provider.Seen(); strings.Contains(string(seen[len(seen)-1].Body), `"include_usage":true`) {
			stream = "data: {\"model\":\"gpt-5\",\"choices\":[{\"delta\":{\"content\":\"hi\"}}],\"usage\":null}\n\n" +
				"data: {\"model\":\"gpt-5\",\"choices\":[],\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":10,\"total_tokens\":110}}\n\ndata: [DONE]\n\n"
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, stream)
	}))
	m.must(0, "start")
	tunnel := m.client("shop")
	proxy, err := tunnel.Transport.(*http.Transport).Proxy(&http.Request{URL: &url.URL{Scheme: "https", Host: host}})
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range []struct {
		client *http.Client
		url    string
	}{
		{tunnel, "https://" + host + "/v1/chat/completions"},
		{http.DefaultClient, "http://" + proxy.Host + "/p/shop/corp/v1/chat/completions"},
	} {
		resp, err := call.client.Post(call.url, "application/json", strings.NewReader(`{"model":"gpt-5","stream":true}`))
		if err != nil {
			t.Fatalf("%s: %v\n%s", call.url, err, m.logs())
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != plain {
			t.Errorf("%s: the client read %q, %v", call.url, body, err)
		}
	}
	rows := m.export()
	if len(rows) != 2 {
		t.Fatalf("%d rows, want 2\n%s", len(rows), m.logs())
	}
	for _, row := range rows {
		if row.Provider != "openai" || row.Host != host || row.Project != "shop" || row.InputTokens == nil || *row.InputTokens != 100 || *row.OutputTokens != 10 ||
			row.CostNanoUSD == nil || *row.CostNanoUSD != 100*1_250+10*10_000 || !row.TokensComplete {
			t.Errorf("the row is %+v (%s)", row, deref(row.CostReason))
		}
	}
}
