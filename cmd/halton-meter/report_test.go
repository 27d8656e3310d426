package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/meter/ledger"
)

func TestParseSince(t *testing.T) {
	zone := time.FixedZone("test", 2*3600)
	now := time.Date(2026, 3, 31, 12, 0, 0, 0, zone)
	tests := map[string]string{
		"0":          "2026-03-31T12:00:00+02:00",
		"7":          "2026-03-24T12:00:00+02:00",
		"7d":         "2026-03-24T12:00:00+02:00",
		"5m":         "2026-03-31T11:55:00+02:00",
		"12h":        "2026-03-31T00:00:00+02:00",
		"2026-03-01": "2026-03-01T00:00:00+02:00",
		"-1":         "", "-5m": "", "yesterday": "", "2026-02-30": "",
	}
	for in, want := range tests {
		got, err := parseSince(in, now)
		switch {
		case want == "" && err == nil:
			t.Errorf("%q: got %s, want an error", in, got)
		case want != "" && (err != nil || got.Format(time.RFC3339) != want):
			t.Errorf("%q: got %s, %v; want %s", in, got.Format(time.RFC3339), err, want)
		}
	}
}

func TestDollars(t *testing.T) {
	tests := map[int64]string{
		0:                     "$0.000000",
		1:                     "$0.000000",
		500:                   "$0.000001",
		135_000:               "$0.000135",
		999_999_499:           "$0.999999",
		999_999_999:           "$1.000000",
		1_000_000_000:         "$1.00",
		284_130_000_000:       "$284.13",
		1_234_567_895_000_000: "$1,234,567.90",
	}
	for nano, want := range tests {
		if got := dollars(nano); got != want {
			t.Errorf("%d: got %s, want %s", nano, got, want)
		}
	}
}

func TestReportTellsWhatIsNotPriced(t *testing.T) {
	at := time.Date(2026, 5, 7, 0, 0, 0, 0, time.UTC)
	tables := map[ledger.By][]ledger.Total{ledger.ByProject: {
		{Key: "billing", Requests: 2, InputTokens: 1000, CacheReadTokens: 200, OutputTokens: 30, CostNanoUSD: 1_500_000_000},
		{Key: "misc", Requests: 1, Unpriced: 1, InputTokens: 7, Reported: 1, ReportedNanoUSD: 2_000_000, Disputed: 3, DisputeNanoUSD: -5_000_000},
	}}
	var out bytes.Buffer
	if err := printReport(&out, at.AddDate(0, 0, -30), at, []ledger.By{ledger.ByProject}, tables); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"requests    3", "1,207 in · 30 out", "$1.50", "1 requests have no known cost", "for 1 of them the provider says $0.002000", "! differs   3 requests cost $0.005000 less", "billing", "unknown !"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}
}
