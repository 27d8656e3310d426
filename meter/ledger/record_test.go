package ledger

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func record(t testing.TB, r Row) []byte {
	t.Helper()
	rec, err := encodeRow(fitRow(r))
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// decoded returns the ids of the rows that are readable in data.
func decoded(t testing.TB, data []byte) (ids []string, damaged int) {
	t.Helper()
	damaged = scanRecords(data, func(_ kind, payload []byte) {
		if r, err := decodeRow(payload); err == nil {
			ids = append(ids, r.ID)
		}
	})
	return ids, damaged
}

func TestRecordKeepsEveryField(t *testing.T) {
	want := fullRow("x")
	scanRecords(record(t, want), func(k kind, payload []byte) {
		got, err := decodeRow(payload)
		if err != nil || k != kindRow {
			t.Fatalf("kind %c, %v", k, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTornTailAtEveryByte(t *testing.T) {
	first := append(record(t, row("a", 0)), record(t, row("b", 1))...)
	last := record(t, row("c", 2))
	after := record(t, row("d", 3))
	for cut := range last {
		torn := slices.Concat(first, last[:cut])
		ids, damaged := decoded(t, torn)
		if want := min(cut, 1); !slices.Equal(ids, []string{"a", "b"}) || damaged != want {
			t.Errorf("cut at %d: rows %v, damaged %d; want [a b], %d", cut, ids, damaged, want)
		}
		// The next append may come before anybody can take the torn one back.
		ids, _ = decoded(t, slices.Concat(torn, after))
		if !slices.Equal(ids, []string{"a", "b", "d"}) {
			t.Errorf("cut at %d, then another: rows %v, want [a b d]", cut, ids)
		}
	}
}

func TestOneCorruptByteCostsOneRecord(t *testing.T) {
	a, b, c := record(t, row("a", 0)), record(t, row("b", 1)), record(t, row("c", 2))
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 0x40
		ids, damaged := decoded(t, slices.Concat(a, bad, c))
		if !slices.Equal(ids, []string{"a", "c"}) || damaged != 1 {
			t.Errorf("byte %d: rows %v, damaged %d; want [a c], 1", i, ids, damaged)
		}
	}
	zeros := make([]byte, 5000) // what a loss of power leaves behind
	if ids, damaged := decoded(t, slices.Concat(a, zeros)); len(ids) != 1 || damaged != 1 {
		t.Errorf("zeros at the end: rows %v, damaged %d", ids, damaged)
	}
	room := slices.Concat(encodeRecord(kindRoom, nil), a, zeros)
	if ids, damaged := decoded(t, room); len(ids) != 1 || damaged != 0 {
		t.Errorf("zeros in a piece of the reserve: rows %v, damaged %d", ids, damaged)
	}
	if ids, damaged := decoded(t, append(room, a...)); len(ids) != 2 || damaged != 1 {
		t.Errorf("zeros between records: rows %v, damaged %d", ids, damaged)
	}
}

// The worst that a provider or client can send still fits into a record, and
// the database takes it.
func TestHostileRowIsStored(t *testing.T) {
	long := strings.Repeat("\x00<\xff", 1<<20)
	hostile := fullRow("hostile")
	for _, s := range []*string{
		&hostile.Project, &hostile.ProjectSource, &hostile.Provider, &hostile.Host, &hostile.Path,
		&hostile.Model, &hostile.Mode, &hostile.Kind, &hostile.Status, &hostile.Client,
		&hostile.Tier, &hostile.ErrorCode, &hostile.ResponseID, hostile.ErrorClass, hostile.CostReason,
		&hostile.SessionID, &hostile.AgentID,
	} {
		*s = long
	}
	hostile.LatencyMS, hostile.FirstByteMS = ptr(math.NaN()), ptr(math.Inf(1))
	hostile.InputTokens, hostile.OutputTokens = ptr[int64](-1), ptr[int64](math.MaxInt64)
	hostile.RequestedAt = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	hostile.RawUsage = []byte(strings.Repeat("\xfe", maxRawUsage))
	hostile.Charges = []byte(strings.Repeat("\xfe", maxCharges))
	hostile.ReportedCostNanoUSD = ptr[int64](math.MaxInt64)
	hostile.ToolCalls = map[string]int64{}
	for i := range 1000 {
		hostile.ToolCalls[strings.Repeat("\x00", i)] = int64(i)
	}
	if rec := record(t, hostile); len(rec) > maxPayload {
		t.Errorf("record of %d bytes, want at most %d", len(rec), maxPayload)
	}
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir}, quick())
	must(t, l.Begin(Opening{ID: "opened", Path: long, Client: long, Host: long, Project: long}))
	must(t, l.Finish(hostile))
	must(t, l.Finish(row("good", 0)))
	must(t, l.Flush(t.Context()))
	rows := readAll(t, dir, Query{})
	if len(rows) != 2 {
		t.Fatalf("rows %v, want good and hostile", ids(rows))
	}
	got := rows[1]
	if got.InputTokens != nil || got.OutputTokens != nil || got.LatencyMS != nil || got.TokensComplete ||
		got.ReportedCostNanoUSD != nil {
		t.Errorf("impossible figures were kept: %+v", got)
	}
	if diff := cmp.Diff(fitRow(hostile), got); diff != "" {
		t.Errorf("journal and database differ (-journal +database):\n%s", diff)
	}
	r, err := OpenReader(t.Context(), dir)
	must(t, err)
	if _, err := r.Totals(t.Context(), Query{}, ByModel); err != nil {
		t.Error(err)
	}
}

// Only what the fields of Opening and Row name may reach the disk; raw usage
// stays out of the export.
func TestExportFormIsAPromise(t *testing.T) {
	got, err := json.Marshal(fullRow("x"))
	must(t, err)
	golden := filepath.Join("testdata", "export.jsonl")
	want, err := os.ReadFile(golden)
	must(t, err)
	if string(got)+"\n" != string(want) {
		t.Errorf("export line\n%s\nwant\n%s", got, want)
	}
	var keys map[string]any
	must(t, json.Unmarshal(got, &keys))
	var names []string
	for _, c := range columns[:exported] {
		if _, ok := keys[c]; !ok {
			t.Errorf("column %s is no key of the export", c)
		}
		names = append(names, c)
	}
	if len(keys) != len(names) {
		t.Errorf("%d keys, %d columns", len(keys), len(names))
	}
}

func FuzzScanRecords(f *testing.F) {
	f.Add([]byte{})
	f.Add(record(f, fullRow("a")))
	f.Add(append(encodeRecord(kindRoom, nil), make([]byte, 100)...))
	f.Add(append(record(f, row("a", 0))[:20], record(f, row("b", 0))...))
	f.Add([]byte("\xffHMJ\xff\xff\xff\xff\x00\x00\x00\x00o"))
	good := record(f, row("good", 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		read := 0
		scanRecords(data, func(k kind, payload []byte) {
			read += headSize + len(payload)
			decodeOpening(payload)
			if r, err := decodeRow(payload); err == nil {
				record(t, r)
			}
		})
		if read > len(data) {
			t.Fatalf("%d bytes of records in %d bytes", read, len(data))
		}
		// Garbage in front never hides an intact record, unless it claims
		// the mark's place as its own payload with a valid checksum.
		var found bool
		scanRecords(slices.Concat(data, good, good), func(_ kind, payload []byte) {
			found = found || bytes.Contains(payload, []byte(`"good"`))
		})
		if !found {
			t.Fatal("garbage in front hides the records behind it")
		}
	})
}
