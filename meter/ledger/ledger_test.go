package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var start = time.Date(2026, 11, 23, 9, 0, 0, 123456000, time.UTC)

func ptr[T any](v T) *T { return &v }

// fullRow sets every field.
func fullRow(id string) Row {
	return Row{
		ID: id, RequestedAt: start, Project: "shop", ProjectSource: "proxy_url",
		Provider: "anthropic", Host: "api.anthropic.com", Path: "/v1/messages",
		Model: "claude-sonnet-4-6", Mode: "thinking", Kind: "chat", Stream: true,
		Status: "error", HTTPStatus: ptr(529), ErrorClass: ptr("server_error"),
		InputTokens: ptr[int64](1), OutputTokens: ptr[int64](2), ThinkingTokens: ptr[int64](3),
		CacheReadTokens: ptr[int64](4), CacheWriteTokens: ptr[int64](5), CacheWrite1hTokens: ptr[int64](6),
		ToolCalls: map[string]int64{"web_search": 2}, CostNanoUSD: ptr[int64](1234567),
		CostReason: ptr("partial"), RatesSource: ptr("bundled-2026-11-01"), TokensComplete: true,
		LatencyMS: ptr(1234.5), FirstByteMS: ptr(250.25), Client: "curl/8.5.0",
		RawUsage: []byte(`{"input_tokens":1}`), Tier: "priority", ErrorCode: "overloaded_error",
		ResponseID: "msg_1", ReportedCostNanoUSD: ptr[int64](1234000), SessionID: "s-1", AgentID: "a-1",
		Charges: []byte(`[{"model":"claude-opus-4-1"}]`),
	}
}

// row is a success in the given minute.
func row(id string, minute int) Row {
	return Row{
		ID: id, RequestedAt: start.Add(time.Duration(minute) * time.Minute), Project: "shop",
		Provider: "openai", Model: "gpt-5", Mode: "standard", Kind: "chat", Status: "success",
		InputTokens: ptr[int64](10), OutputTokens: ptr[int64](5), CostNanoUSD: ptr[int64](1000),
		TokensComplete: true,
	}
}

// quick is a tuning in which nothing waits long.
func quick() tuning {
	t := defaultTuning()
	t.busy = 20 * time.Millisecond
	t.firstWait, t.maxWait = time.Millisecond, 5*time.Millisecond
	t.housekeeping, t.verifyEvery = 5*time.Millisecond, 5*time.Millisecond
	return t
}

func mustOpen(t *testing.T, c Config, tune tuning) *Ledger {
	t.Helper()
	l, err := open(t.Context(), c, tune)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(context.Background()) })
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func readAll(t *testing.T, dir string, q Query) []Row {
	t.Helper()
	r, err := OpenReader(t.Context(), dir)
	must(t, err)
	defer r.Close()
	var rows []Row
	for row, err := range r.Rows(t.Context(), q) {
		must(t, err)
		rows = append(rows, row)
	}
	return rows
}

func ids(rows []Row) []string {
	var list []string
	for _, r := range rows {
		list = append(list, r.ID)
	}
	return list
}

func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir}, quick())
	full, bare := fullRow("full"), Row{ID: "bare", RequestedAt: start.Add(time.Second), Project: "misc"}
	must(t, l.Begin(Opening{ID: "full", RequestedAt: start}))
	must(t, l.Finish(full))
	must(t, l.Finish(bare))
	must(t, l.Flush(t.Context()))
	if diff := cmp.Diff([]Row{full, bare}, readAll(t, dir, Query{})); diff != "" {
		t.Errorf("rows beside the writer (-want +got):\n%s", diff)
	}
	must(t, l.Close(t.Context()))
	if diff := cmp.Diff([]Row{full, bare}, readAll(t, dir, Query{})); diff != "" {
		t.Errorf("rows after it (-want +got):\n%s", diff)
	}
	if left, err := listSegments(filepath.Join(dir, "journal")); err != nil || len(left) > 0 {
		t.Errorf("segments left = %v, %v; want none", left, err)
	}
	if err := l.Finish(full); !errors.Is(err, ErrClosed) {
		t.Errorf("Finish after Close = %v, want ErrClosed", err)
	}
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	l := mustOpen(t, Config{Dir: dir}, quick())
	must(t, l.Finish(row("a", 0)))
	must(t, l.Flush(t.Context()))
	want := map[string]os.FileMode{
		"db.sqlite": 0o600, "db.sqlite-wal": 0o600, "db.sqlite-shm": 0o600,
		"journal": 0o700, "journal/0000000000000001.j1": 0o600, "journal/reserve-0": 0o600,
	}
	for name, mode := range want {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if got := st.Mode().Perm(); got != mode {
			t.Errorf("mode of %s = %o, want %o", name, got, mode)
		}
	}
}

func TestRowsBeyondMemoryComeFromTheJournal(t *testing.T) {
	dir := t.TempDir()
	tune := quick()
	tune.segmentBytes = 4096
	l := mustOpen(t, Config{Dir: dir, MaxPending: 8, BatchRows: 3}, tune)
	const n = 300
	for i := range n {
		must(t, l.Finish(row(fmt.Sprintf("%04d", i), i)))
	}
	must(t, l.Flush(t.Context()))
	must(t, l.Close(t.Context()))
	if got := len(readAll(t, dir, Query{})); got != n {
		t.Errorf("%d rows, want %d", got, n)
	}
}
