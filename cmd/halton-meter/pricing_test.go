package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
)

// TestUnknownModel: a host that the configuration adds is metered with a model
// that nobody knows. Its cost is null and never a guess; report lists it with
// its tokens; a price in the configuration prices it later, once.
func TestUnknownModel(t *testing.T) {
	t.Parallel()
	const host = "llm.corp.example"
	m := newMachine(t, freePorts(t)+"\n[providers.\""+host+"\"]\nformat = \"openai-chat\"\nprovider = \"corp\"\nbase_url = \"/corp\"\n", host)
	const answer = `{"id":"c1","model":"acme-large-2","choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":20,"prompt_tokens_details":{"cached_tokens":400},"cost":0.0033}}`
	m.provider.Handle("POST /team/v1/chat/completions", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, answer)
	}))
	m.must(0, "start")
	resp, err := m.client("billing").Post("https://"+host+"/team/v1/chat/completions", "application/json", strings.NewReader(`{"model":"acme-large"}`))
	if err != nil {
		t.Fatal(err, m.logs())
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(body) != answer {
		t.Fatalf("the client read %q, %v", body, err)
	}

	rows := m.export()
	if len(rows) != 1 {
		t.Fatalf("%d rows, want 1\n%s", len(rows), m.logs())
	}
	row := rows[0]
	if row.Provider != "corp" || row.Model != "acme-large-2" || row.CostNanoUSD != nil || row.RatesSource != nil ||
		row.CostReason == nil || !strings.Contains(*row.CostReason, "acme-large-2") || *row.InputTokens != 600 || *row.CacheReadTokens != 400 {
		t.Errorf("the row is %+v", row)
	}
	for _, want := range []string{"unpriced    1 requests", "1,000 in · 20 out", "acme-large-2", "the provider says $0.003300"} {
		if r := m.must(0, "report"); !strings.Contains(r.out, want) {
			t.Errorf("report lacks %q:\n%s", want, r.out)
		}
	}
	if r := m.must(0, "pricing", "explain", row.ID); !strings.Contains(r.out, "not known: corp's model \"acme-large-2\" is not in the price book") {
		t.Errorf("explain does not say why:\n%s", r.out)
	}
	if r := m.must(0, "pricing", "backfill"); !strings.Contains(r.out, "priced    0 rows") || !strings.Contains(r.out, "unpriced  1 rows") {
		t.Errorf("backfill without a price:\n%s", r.out)
	}
	if r := m.must(1, "pricing", "show", "acme-large-2"); !strings.Contains(r.err, "[pricing.") {
		t.Errorf("show does not say what to write:\n%s", r.err)
	}

	// The cache's price is missing at first: a part of the cost is no cost.
	m.setPrices("[pricing.\"acme-*\"]\ninput = 3\noutput = \"15\"\n")
	if r := m.must(0, "pricing", "backfill", "--json"); !strings.Contains(r.out, `"priced": 0`) {
		t.Errorf("backfill with a half of the prices:\n%s", r.out)
	}
	m.setPrices("[pricing.\"acme-*\"]\ninput = -3\n")
	if r := m.must(1, "pricing", "backfill"); !strings.Contains(r.err, `pricing."acme-*": input = -3`) || !strings.Contains(r.err, "per million tokens") {
		t.Errorf("a wrong price is not named:\n%s", r.err)
	}
	m.setPrices("[pricing.\"acme-*\"]\ninput = 3\ncache_read = 0.3\noutput = \"15\"\n")
	for _, want := range []string{`"priced": 1`, `"priced": 0`} { // the second time there is nothing to do
		if r := m.must(0, "pricing", "backfill", "--json"); !strings.Contains(r.out, want) || !strings.Contains(r.out, `"unpriced": 0`) {
			t.Errorf("backfill does not say %s:\n%s", want, r.out)
		}
	}
	const cost = 600*3_000 + 400*300 + 20*15_000
	row = m.export()[0]
	if row.CostNanoUSD == nil || *row.CostNanoUSD != cost || *row.RatesSource != "override" || row.CostReason != nil {
		t.Errorf("after the backfill: %+v", row)
	}
	var e explanation
	if err := json.Unmarshal([]byte(m.must(0, "pricing", "explain", "--json", row.ID).out), &e); err != nil {
		t.Fatal(err)
	}
	if *e.CostNanoUSD != cost || *e.StoredCostNanoUSD != cost || e.DiffersFromStored || !e.DiffersFromReported || len(e.Charges) != 1 || len(e.Charges[0].Lines) != 3 {
		t.Errorf("explain --json: %+v", e)
	}
	told := m.must(0, "pricing", "explain", row.ID).out
	for _, want := range []string{"600 × $3 / 1M tokens = 1800000 nano-USD", "2,220,000 nano-USD", "(override)", "! the stored cost differs from it by -1,080,000"} {
		if !strings.Contains(strings.Join(strings.Fields(told), " "), want) {
			t.Errorf("explain lacks %q:\n%s", want, told)
		}
	}
	if r := m.must(0, "report"); !strings.Contains(r.out, "! differs   1 requests cost $0.001080 more") || strings.Contains(r.out, "have no known cost") {
		t.Errorf("report after the backfill:\n%s", r.out)
	}
	if r := m.must(1, "pricing", "explain", "nope"); !strings.Contains(r.err, "no row has the id") {
		t.Errorf("explain of no row: %s", r.err)
	}
}

// setPrices puts these tables at the end of the configuration.
func (m *machine) setPrices(tables string) {
	m.Helper()
	const mark = "\n# prices\n"
	data, err := os.ReadFile(m.paths().Config())
	if err != nil {
		m.Fatal(err)
	}
	before, _, _ := strings.Cut(string(data), mark)
	m.write(m.paths().Config(), before+mark+tables)
}

// TestPricingList: the book is listed with the user's prices first.
func TestPricingList(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.setPrices("[pricing.\"acme-*\"]\nprovider = \"corp\"\ninput = 3\noutput = \"15\"\n")
	var list []jsonEntry
	if err := json.Unmarshal([]byte(m.must(0, "pricing", "list", "--json").out), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) < 1000 || list[0].Model != "acme-*" || list[0].Provider != "corp" || list[0].Source != "override" || list[0].Now.Rates[0] != (jsonRate{"input", "3", 1_000_000, 0}) {
		t.Errorf("%d entries, the first %+v", len(list), list[0])
	}
	if r := m.must(0, "pricing", "list", "--provider", "anthropic", "claude-sonnet-4-*"); !strings.Contains(r.out, "3+ ") || !strings.Contains(r.out, "2026-03-13") || strings.Contains(r.out, "opus") {
		t.Errorf("a part of the list:\n%s", r.out)
	}
	shown := m.must(0, "pricing", "show", "--provider", "anthropic", "claude-opus-4-6-20260205").out
	for _, want := range []string{"is priced as claude-opus-4-6 of anthropic", "since 2026-03-13, now", "for prompts above 200,000 tokens", "per thousand calls"} {
		if !strings.Contains(shown, want) {
			t.Errorf("show lacks %q:\n%s", want, shown)
		}
	}
	m.must(1, "pricing", "list", "--provider", "nobody", "x")
	if conf, err := config.Load(m.paths().Config()); err != nil || len(conf.Pricing) != 1 {
		t.Errorf("the configuration: %+v, %v", conf.Pricing, err)
	}
}
