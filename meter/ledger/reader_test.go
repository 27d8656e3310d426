package ledger

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReaderOfNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	r, err := OpenReader(t.Context(), dir)
	must(t, err)
	if last, err := r.Last(t.Context()); last != nil || err != nil {
		t.Errorf("Last = %v, %v; want nil, nil", last, err)
	}
	if totals, err := r.Totals(t.Context(), Query{}, ByProject); len(totals) != 0 || err != nil {
		t.Errorf("Totals = %v, %v; want none", totals, err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("reading made the directory: %v", err)
	}
	if _, err := r.Totals(t.Context(), Query{}, "id"); err == nil {
		t.Error("an unknown grouping is accepted")
	}
}

func TestReaderCreatesNothing(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 3)
	list := func() (names []string) {
		must(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			names = append(names, path)
			return err
		}))
		return names
	}
	before := list()
	if got := len(readAll(t, dir, Query{})); got != 3 {
		t.Errorf("%d rows, want 3", got)
	}
	if diff := cmp.Diff(before, list()); diff != "" {
		t.Errorf("files before and after (-before +after):\n%s", diff)
	}
}

func TestQuery(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir}, quick())
	for i := range 2*pageRows + 10 {
		r := row(fmt.Sprintf("%05d", i), i)
		if i%2 == 1 {
			r.Project = "docs"
		}
		must(t, l.Finish(r))
	}
	must(t, l.Flush(t.Context()))
	must(t, l.Close(t.Context()))
	at := func(minute int) time.Time { return start.Add(time.Duration(minute) * time.Minute) }
	for _, c := range []struct {
		name        string
		q           Query
		n           int
		first, last string
	}{
		{"all", Query{}, 2010, "00000", "02009"},
		{"since is included", Query{Since: at(2000)}, 10, "02000", "02009"},
		{"until is not", Query{Until: at(10)}, 10, "00000", "00009"},
		{"since between two microseconds", Query{Since: at(2000).Add(1)}, 9, "02001", "02009"},
		{"until between two microseconds", Query{Until: at(10).Add(1)}, 11, "00000", "00010"},
		{"project", Query{Project: "docs", Until: at(4)}, 2, "00001", "00003"},
		{"limit of a page", Query{Limit: pageRows}, pageRows, "00000", "00999"},
		{"limit beyond a page", Query{Limit: pageRows + 1, Since: at(1)}, pageRows + 1, "00001", "01001"},
		{"limit beyond all", Query{Limit: 5000}, 2010, "00000", "02009"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rows := readAll(t, dir, c.q)
			if len(rows) != c.n || rows[0].ID != c.first || rows[len(rows)-1].ID != c.last {
				t.Errorf("%d rows, %s to %s; want %d, %s to %s",
					len(rows), rows[0].ID, rows[len(rows)-1].ID, c.n, c.first, c.last)
			}
		})
	}
}

// Totals are the same whether the rows lie in the database, in the journal of
// a dead process, or in both.
func TestTotals(t *testing.T) {
	rows := []Row{row("a", 0), row("b", 1), row("c", 24*60), fullRow("d"), row("e", 2)}
	rows[1].Project, rows[1].CostNanoUSD = "docs", ptr[int64](5000)
	rows[4].CostNanoUSD, rows[4].TokensComplete, rows[4].Status = nil, false, "truncated"
	rows[3].CostNanoUSD, rows[3].ReportedCostNanoUSD = ptr[int64](7), ptr[int64](5) // 2 less
	rows[0].ReportedCostNanoUSD = ptr(*rows[0].CostNanoUSD + 1)                     // rounding
	rows[2].ReportedCostNanoUSD = ptr(*rows[2].CostNanoUSD + 10)                    // 10 more
	rows[4].ReportedCostNanoUSD = ptr[int64](900)
	openai := func(t Total) Total { t.Provider = "openai"; return t }
	shop := Total{
		Key: "shop", Requests: 4, Failed: 2, Unpriced: 1, Incomplete: 1,
		InputTokens: 31, OutputTokens: 17, ThinkingTokens: 3, CacheReadTokens: 4, CacheWriteTokens: 5,
		CacheWrite1hTokens: 6, CostNanoUSD: 2007, LastAt: rows[2].RequestedAt,
		Disputed: 2, DisputeNanoUSD: 8, Reported: 1, ReportedNanoUSD: 900,
	}
	docs := Total{Key: "docs", Requests: 1, InputTokens: 10, OutputTokens: 5, CostNanoUSD: 5000, LastAt: rows[1].RequestedAt}
	sonnet := Total{
		Key: "claude-sonnet-4-6", Provider: "anthropic", Requests: 1, Failed: 1, InputTokens: 1, OutputTokens: 2,
		ThinkingTokens: 3, CacheReadTokens: 4, CacheWriteTokens: 5, CacheWrite1hTokens: 6, CostNanoUSD: 7, LastAt: start,
		Disputed: 1, DisputeNanoUSD: -2,
	}
	gpt := openai(Total{
		Key: "gpt-5", Requests: 4, Failed: 1, Unpriced: 1, Incomplete: 1,
		InputTokens: 40, OutputTokens: 20, CostNanoUSD: 7000, LastAt: rows[2].RequestedAt,
		Disputed: 1, DisputeNanoUSD: 10, Reported: 1, ReportedNanoUSD: 900,
	})
	want := map[By][]Total{ByProject: {docs, shop}, ByModel: {gpt, sonnet}}

	test := func(t *testing.T, dir string) {
		r, err := OpenReader(t.Context(), dir)
		must(t, err)
		for by, want := range want {
			got, err := r.Totals(t.Context(), Query{}, by)
			must(t, err)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("totals by %s (-want +got):\n%s", by, diff)
			}
		}
		days, err := r.Totals(t.Context(), Query{Since: start}, ByDay)
		must(t, err)
		if len(days) != 2 || days[0].Key != "2026-11-23" || days[0].Requests != 4 || days[1].Key != "2026-11-24" {
			t.Errorf("days %+v", days)
		}
		last, err := r.Last(t.Context())
		must(t, err)
		if last == nil || last.ID != "c" {
			t.Errorf("last %+v, want c", last)
		}
	}
	for name, stored := range map[string]int{"journal": 0, "both": 3, "database": len(rows)} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := mustOpen(t, Config{Dir: dir}, quick())
			for _, r := range rows[:stored] {
				must(t, l.Finish(r))
			}
			must(t, l.Flush(t.Context()))
			// From here on the database takes nothing more.
			l.stop()
			l.work.Wait()
			for _, r := range rows[stored:] {
				must(t, l.Finish(r))
			}
			crash(l)
			test(t, dir)
		})
	}
}

// A reader that runs beside the writer sees every row that was finished
// before it looked, once, and in order.
func TestReaderBesideWriter(t *testing.T) {
	dir := t.TempDir()
	tune := quick()
	tune.segmentBytes = 8 << 10
	l := mustOpen(t, Config{Dir: dir, BatchRows: 5}, tune)
	const n = 400
	finished := make(chan int, n)
	go func() {
		defer close(finished)
		for i := range n {
			if err := l.Finish(row(fmt.Sprintf("%04d", i), i)); err != nil {
				t.Error(err)
			}
			finished <- i
		}
	}()
	for i := range finished {
		if i%40 != 0 {
			continue
		}
		got := ids(readAll(t, dir, Query{}))
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Fatalf("rows out of order or twice: %v", got)
		}
		if len(got) <= i {
			t.Fatalf("%d rows after %d were finished", len(got), i+1)
		}
	}
}

// batcher is a Ledger without a disk.
func batcher() *Ledger {
	return &Ledger{
		c: Config{}.withDefaults(), journal: &journal{}, wake: make(chan struct{}, 1),
	}
}

func (l *Ledger) enqueue(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range n {
		l.seq++
		l.queue = append(l.queue, &entry{seq: l.seq})
		l.queued()
	}
}

func TestBatchDelay(t *testing.T) {
	for _, c := range []struct {
		name string
		feed func(l *Ledger)
		want time.Duration
		rows int
	}{
		{"one row waits a tenth", func(l *Ledger) { l.enqueue(1) }, 25 * time.Millisecond, 1},
		{"a full batch waits not at all", func(l *Ledger) { l.enqueue(256) }, 0, 256},
		{"nor does one that fills up", func(l *Ledger) {
			l.enqueue(1)
			time.Sleep(3 * time.Millisecond)
			l.enqueue(255)
		}, 3 * time.Millisecond, 256},
		{"some rows wait for others", func(l *Ledger) {
			for range 4 {
				l.enqueue(1)
				time.Sleep(10 * time.Millisecond)
			}
		}, 75 * time.Millisecond, 4},
		{"a steady trickle waits 250 ms", func(l *Ledger) {
			for range 100 {
				l.enqueue(1)
				time.Sleep(3 * time.Millisecond)
			}
		}, 250 * time.Millisecond, 84},
		{"a flush ends the wait", func(l *Ledger) {
			l.enqueue(1)
			time.Sleep(2 * time.Millisecond)
			l.mu.Lock()
			l.flushes++
			l.mu.Unlock()
			l.signal()
		}, 2 * time.Millisecond, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := batcher()
				began := time.Now()
				var fed sync.WaitGroup
				defer fed.Wait()
				fed.Go(func() { c.feed(l) })
				must(t, l.next(t.Context()))
				l.mu.Lock()
				defer l.mu.Unlock()
				if got := time.Since(began); got != c.want || len(l.queue) != c.rows {
					t.Errorf("batch of %d after %v, want %d after %v", len(l.queue), got, c.rows, c.want)
				}
			})
		})
	}
}

func TestPauseGrowsAndFlushShortensIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := batcher()
		l.t = defaultTuning()
		wait := l.t.firstWait
		var got []time.Duration
		for range 8 {
			began := time.Now()
			l.pause(t.Context(), &wait)
			got = append(got, time.Since(began))
		}
		ms := time.Millisecond
		want := []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms}
		if !slices.Equal(got, want) {
			t.Errorf("pauses %v, want %v", got, want)
		}
		l.flushes = 1
		l.signal()
		began := time.Now()
		l.pause(t.Context(), &wait)
		if got := time.Since(began); got != 100*ms {
			t.Errorf("pause with a flush %v, want 100ms", got)
		}
	})
}
