package pricing

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestClause(t *testing.T) {
	for _, tt := range []struct {
		clause   string
		yes, not string // names
	}{
		{`{"equals":"GPT-5"}`, "gpt-5", "gpt-5x xgpt-5"},
		{`{"starts_with":"gpt-5"}`, "gpt-5 gpt-5-2026-01-02", "xgpt-5"},
		{`{"ends_with":"-Mini"}`, "models/-mini", "gpt-5-mini2"},
		{`{"contains":"claude-3"}`, "us.claude-3 claude-3", "claude-"},
		{`{"regex":"^gpt-5\\.6-\\d{4}$"}`, "gpt-5.6-2026", "gpt-5x6-2026 gpt-5.6-20261"},
		{`{"or":[{"equals":"a"},{"equals":"b"}]}`, "a b", "c"},
		{`{"and":[{"starts_with":"a"},{"not":{"contains":"exp"}}]}`, "a a-latest", "a-exp z"},
		{`{"not":{"contains":"tts"}}`, "gpt-5", "gpt-tts"},
		{`{"or":[]}`, "", "a"},
	} {
		c, err := parseClause([]byte(tt.clause), true)
		if err != nil {
			t.Fatalf("%s: %v", tt.clause, err)
		}
		for name := range strings.FieldsSeq(tt.yes) {
			if !c.fits(name) {
				t.Errorf("%s does not match %q", tt.clause, name)
			}
		}
		for name := range strings.FieldsSeq(tt.not) {
			if c.fits(name) {
				t.Errorf("%s matches %q", tt.clause, name)
			}
		}
	}
}

func TestDashDates(t *testing.T) {
	for name, want := range map[string]string{
		"gpt-5":                   "gpt-5",
		"gpt-5-20250807":          "gpt-5-2025-08-07",
		"gpt-5-20250807-eu":       "gpt-5-2025-08-07-eu",
		"a-20250807-20250808":     "a-2025-08-07-2025-08-08",
		"a-20250807:batch":        "a-2025-08-07:batch",
		"gpt-5-20250230":          "gpt-5-20250230",
		"gpt-5-202508071":         "gpt-5-202508071",
		"a-20250230-20250808":     "a-20250230-2025-08-08",
		"gpt-5-2025-08-07":        "gpt-5-2025-08-07",
		"llama-20991231x20250807": "llama-20991231x20250807",
	} {
		if got := dashDates(name); got != want {
			t.Errorf("dashDates(%q) = %q, want %q", name, got, want)
		}
	}
}

// TestConstraint has the edges of each kind of period. Where several hold, the
// last listed one does.
func TestConstraint(t *testing.T) {
	const day = `{"type":"time_of_date","start_time":"00:30:00Z","end_time":"16:30:00Z"}`
	const night = `{"type":"time_of_date","start_time":"18:00:00-05:00","end_time":"01:00:00Z"}`
	const date = `{"type":"start_date","start_date":"2026-03-13"}`
	for _, tt := range []struct {
		constraint, at string
		want           bool
	}{
		{`null`, "2026-01-01T00:00:00Z", true},
		{date, "2026-03-12T23:59:59.999999999Z", false},
		{date, "2026-03-13T00:00:00Z", true},
		{date, "2026-03-12T19:00:00-05:00", true},
		{day, "2026-01-01T00:29:59.999Z", false},
		{day, "2026-01-01T00:30:00Z", true},
		{day, "2026-01-01T16:29:59.999Z", true},
		{day, "2026-01-01T16:30:00Z", false},
		{day, "2026-01-01T18:29:59+02:00", true},
		{night, "2026-01-01T22:59:59Z", false},
		{night, "2026-01-01T23:00:00Z", true},
		{night, "2026-01-01T00:59:59Z", true},
		{night, "2026-01-01T01:00:00Z", false},
	} {
		var p period
		if err := json.Unmarshal([]byte(`{"constraint":`+tt.constraint+`}`), &p); err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339Nano, tt.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Constraint.holds(at); got != tt.want {
			t.Errorf("%s at %s: %v", tt.constraint, tt.at, got)
		}
	}
}

func TestParsePrice(t *testing.T) {
	for _, tt := range []struct {
		usd   string
		units int64
		want  string // nano-USD a unit, "" for an error
	}{
		{"5", 1_000_000, "5000"},
		{"0.003625", 1_000_000, "3.625"},
		{"1e-9", 1_000_000, "0.000001"},
		{"0.08333333333333334", 1_000_000, "83.33333333333334"},
		{"10", 1_000, "10000000"},
		{"0", 1_000, "0"},
		{"1e30", 1_000, ""},
		{"1e999999999", 1_000, ""},
		{"-1", 1_000, ""},
		{`"1"`, 1_000, ""},
		{"inf", 1_000, ""},
		{"0x10", 1_000, ""},
		{"1/3", 1_000, ""},
		{"", 1_000, ""},
	} {
		got := ""
		if price, err := parsePrice(tt.usd, tt.units); err == nil {
			got = text(price)
		}
		if got != tt.want {
			t.Errorf("parsePrice(%q, %d) = %q, want %q", tt.usd, tt.units, got, tt.want)
		}
	}
}

// TestParseBookRejects has books that could be misread, each with a part of
// the error.
func TestParseBookRejects(t *testing.T) {
	models := func(text string) string {
		return `{"date":"2026-09-23","providers":[{"id":"p","models":[` + text + `]}]}`
	}
	const match = `"match":{"equals":"m"}`
	for book, want := range map[string]string{
		`{`:                                   "JSON",
		`{"providers":[]}`:                    "parsing time",
		models(`{"id":"m"}`):                  "no match clause",
		models(`{` + match + `,"prices":[]}`): "no prices",
		models(`{"match":{},"prices":[]}`):    "0 members",
		models(`{"match":{"like":"m"},"prices":[]}`):                                                 "like",
		models(`{"match":{"regex":"("},"prices":[]}`):                                                "regex",
		models(`{"match":{"equals":5},"prices":[]}`):                                                 "equals",
		models(`{` + match + `,"prices":[{"prices":{"input_mtok":"free"}}]}`):                        "input_mtok",
		models(`{` + match + `,"prices":[{"prices":{"input_mtok":{"base":1,"tiers":[{}]}}}]}`):       "input_mtok",
		models(`{` + match + `,"prices":[{"constraint":{"type":"moon"},"prices":{}}]}`):              "moon",
		models(`{` + match + `,"prices":[{"constraint":{"type":"start_date"},"prices":{}}]}`):        "parsing time",
		models(`{` + match + `,"prices":[{"prices":{"input_audio_mtok":1,"cache_read_mtok":0.5}}]}`): "cached audio",
	} {
		if _, err := parseBook([]byte(book)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", book, err, want)
		}
	}
}

// TestTiersInAnyOrder: the tier that starts highest below the prompt counts.
func TestTiersInAnyOrder(t *testing.T) {
	r, err := parseRate([]byte(`{"base":1,"tiers":[{"start":20,"price":3},{"start":10,"price":2}]}`), 1e6)
	if err != nil {
		t.Fatal(err)
	}
	for prompt, want := range map[int64]int64{0: 1, 10: 1, 11: 2, 20: 2, 21: 3, 1 << 60: 3} {
		if got, _ := r.at(prompt); got.Cmp(big.NewRat(want*1000, 1)) != 0 {
			t.Errorf("at %d: %s nano-USD a token", prompt, text(got))
		}
	}
}
