package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/meter/provider"
)

const prices = `
[openai]
include_usage = true

[providers."llm.corp.example"]
format = "openai-chat"
provider = "corp"
base_url = "/corp"

[pricing."acme-large-*"]
provider = "corp"
since = 2026-10-01
input = 0.1
output = "15"
cache_read = 3
calls = { web_search = 12.5 }
tiers = [{ above = 200_000, input = 0.2, output = "22.5" }]
`

// TestPrices: numbers and texts are taken digit by digit.
func TestPrices(t *testing.T) {
	c, _, err := load(t, prices)
	if err != nil {
		t.Fatal(err)
	}
	if !c.OpenAI.IncludeUsage {
		t.Error("include_usage is off")
	}
	book, err := c.Book()
	if err != nil {
		t.Fatal(err)
	}
	october := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		usage provider.Usage
		at    time.Time
		want  int64
		known bool
	}{
		{provider.Usage{Input: 3, CacheRead: 1, Output: 1}, october, 300 + 3000 + 15_000, true},
		{provider.Usage{Input: 200_001, Output: 2}, october, 200_001*200 + 45_000, true},
		{provider.Usage{ToolCalls: map[string]int64{"web_search": 1}}, october, 12_500_000, true},
		{provider.Usage{Input: 3}, october.Add(-1), 0, false},
	} {
		got := book.Cost("corp", []provider.Charge{{Model: "acme-large-2", Usage: tt.usage}}, "", tt.at)
		if got.Known != tt.known || got.NanoUSD != tt.want || tt.known && got.Source != "override" {
			t.Errorf("%+v: %+v, want %d", tt.usage, got, tt.want)
		}
	}
	table, err := c.Table()
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := table.Lookup("POST", "llm.corp.example", "/v1/chat/completions"); !ok || e.Provider != "corp" {
		t.Errorf("the host is not metered: %+v", e)
	}
}

func TestPricesErrors(t *testing.T) {
	for content, want := range map[string]string{
		"[pricing.\"m\"]\ninput = -3\n":                         `pricing."m": input = -3 is not a plain decimal number: write US dollars per million tokens`,
		"[pricing.\"m\"]\ninput = inf\n":                        "input = inf",
		"[pricing.\"m\"]\ninput = nan\n":                        "input = nan",
		"[pricing.\"m\"]\ninput = true\n":                       "input = true",
		"[pricing.\"m\"]\ninput = \"$3\"\n":                     "input = $3",
		"[pricing.\"m\"]\ninput = 1_000.5\n":                    "input = 1_000.5",
		"[pricing.\"m\"]\ninput = 3e-6\n":                       "input = 3e-6",
		"[pricing.\"m\"]\ninput = 0.000003\n":                   "too small",
		"[pricing.\"m\"]\noutput = 1\ninput_per_token=3\n":      `line 3: unknown key pricing."m".input_per_token; write one of audio_cache_read`,
		"[pricing.\"m\"]\n":                                     "no price is named",
		"[pricing]\nm = 3\n":                                    "line 2",
		"[pricing.\"*\"]\ninput = 3\n":                          "with a provider",
		"[pricing.\"m\"]\nsince = \"soon\"\ninput = 3\n":        "since = soon is not a date",
		"[pricing.\"m\"]\ninput = 3\ntiers = [{ input = 4 }]\n": "tiers[0].above = 0",
		"[providers.\"a.example\"]\nformat = \"openai\"\n":      `host "a.example": format = "openai" is not known: write one of anthropic-batch, anthropic-messages`,
		"[providers.\"a.example\"]\n":                           `format = ""`,
		"[providers.\"a.example\"]\nurl = \"x\"\n":              `line 2: unknown key providers."a.example".url; write one of format`,
		"[providers.\"a.example:80\"]\nformat = \"gemini\"":     "without a port",
		"[openai]\ninclude_usage = \"yes\"\n":                   "line 2",
	} {
		_, _, err := load(t, content)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot %v, want an error with %q", content, err, want)
		}
	}
}

// TestWhatIsInOrderStays: a wrong price does not take the parent proxy from the
// edge.
func TestWhatIsInOrderStays(t *testing.T) {
	for _, wrong := range []string{
		"[pricing.\"m\"]\ninput = -3\n", "[providers.\"x\"]\nformat = \"gemini\"\n", "[ledger]\nkeep_day = 3\n", "[daemon]\napi_port = 70000\n",
	} {
		c, _, err := load(t, "[upstream]\nproxy = \"http://proxy.example:3128\"\n[providers.\"a.example\"]\nformat = \"gemini\"\n"+wrong)
		if err == nil || c.Upstream.Proxy != "http://proxy.example:3128" {
			t.Errorf("%s: %+v, %v", wrong, c, err)
		}
		if _, err := c.Table(); err != nil {
			t.Errorf("%s: %v", wrong, err)
		}
		if _, err := c.Book(); err != nil {
			t.Errorf("%s: %v", wrong, err)
		}
		if c.Daemon != (config.Daemon{}) {
			t.Errorf("%s: %+v", wrong, c.Daemon)
		}
	}
}
