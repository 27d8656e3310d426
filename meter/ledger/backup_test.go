package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// half is a ledger with a row in the database and one only in the journal.
func half(t *testing.T) (dir string, l *Ledger) {
	t.Helper()
	dir = t.TempDir()
	l = mustOpen(t, Config{Dir: dir}, quick())
	must(t, l.Finish(fullRow("stored")))
	must(t, l.Flush(t.Context()))
	l.stop()
	l.work.Wait()
	t.Cleanup(func() { crash(l) })
	pending := row("pending", 1)
	pending.CostNanoUSD, pending.CostReason = nil, ptr("unknown model")
	must(t, l.Finish(pending))
	must(t, l.Begin(Opening{ID: "open", RequestedAt: start}))
	return dir, l
}

func TestBackup(t *testing.T) {
	dir, _ := half(t)
	to := filepath.Join(t.TempDir(), databaseName)
	must(t, Backup(t.Context(), dir, to, false))
	want := readAll(t, dir, Query{})
	if diff := cmp.Diff(want, readAll(t, filepath.Dir(to), Query{})); diff != "" || len(want) != 2 {
		t.Errorf("%d rows and those of the backup (-want +got):\n%s", len(want), diff)
	}
	if st, err := os.Stat(to); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("backup %v, %v; want mode 0600", st, err)
	}
	if err := Backup(t.Context(), dir, to, false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v, want ErrExist", err)
	}
	must(t, Backup(t.Context(), dir, to, true))
	entries, err := os.ReadDir(filepath.Dir(to))
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("beside the backup lies %v", entries)
	}
	if err := Backup(t.Context(), dir, filepath.Join(dir, "none", "x"), false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into no directory: %v", err)
	}
	// A daemon goes on from a backup.
	l := mustOpen(t, Config{Dir: filepath.Dir(to)}, quick())
	must(t, l.Flush(t.Context()))
}

func TestCheck(t *testing.T) {
	none, err := Check(t.Context(), filepath.Join(t.TempDir(), "none"), true)
	if err != nil || none.Err != nil || none.Schema != 0 || none.Rows != 0 || none.InUse {
		t.Errorf("nothing is %+v, %v", none, err)
	}

	dir, l := half(t)
	rep, err := Check(t.Context(), dir, false)
	must(t, err)
	if rep.Err != nil || rep.Schema != rep.Known || rep.Rows != 1 || rep.Pending != 1 || rep.Open != 1 ||
		!rep.InUse || rep.Segments != 1 || rep.ReserveBytes != defaultReservePieces*defaultPieceBytes || rep.Test != "quick_check" ||
		rep.Oldest == nil || !rep.Oldest.Equal(start) || rep.SQLite == "" || rep.Bytes == 0 {
		t.Errorf("report %+v", rep)
	}
	crash(l)
	fill(t, dir, 300)

	rep, err = Check(t.Context(), dir, true)
	if err != nil || rep.Err != nil || rep.Test != "integrity_check" || rep.Rows != 303 {
		t.Errorf("full: %+v, %v", rep, err)
	}
	damage(t, dir, damages["every tenth page"].corrupt)
	rep, err = Check(t.Context(), dir, false)
	if err != nil || rep.Err == nil || rep.Problem == "" || rep.InUse {
		t.Errorf("corrupt: %+v, %v", rep, err)
	}
	done, err := Recover(t.Context(), dir)
	must(t, err)
	rep, err = Check(t.Context(), dir, true)
	must(t, err)
	if rep.Err != nil || len(rep.SetAside) != 1 || rep.SetAside[0].Recovery == nil || rep.Rows != done[0].Added {
		t.Errorf("recovered: %+v, of %+v", rep, done)
	} else if diff := cmp.Diff(done[0], *rep.SetAside[0].Recovery); diff != "" {
		t.Errorf("recovery (-want +got):\n%s", diff)
	}
}

func TestBackfill(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir}, quick())
	const n = 2*sideRows + 5
	for i := range n {
		r := row(fmt.Sprintf("%04d", i), i)
		r.CostNanoUSD, r.CostReason = nil, ptr("unknown model")
		must(t, l.Finish(r))
	}
	must(t, l.Finish(row("known", n)))
	must(t, l.Flush(t.Context()))
	var asked []string
	priced, err := Backfill(t.Context(), dir, func(r Row) (Price, bool) {
		asked = append(asked, r.ID)
		return Price{NanoUSD: 7, Source: "override"}, r.ID != "0003"
	})
	must(t, err)
	if priced != n-1 || len(asked) != n || slices.Contains(asked, "known") {
		t.Errorf("priced %d of %d", priced, len(asked))
	}
	for _, r := range readAll(t, dir, Query{}) {
		switch r.ID {
		case "0003":
			if r.CostNanoUSD != nil || *r.CostReason != "unknown model" {
				t.Errorf("unknown is %+v", r)
			}
		case "known":
			if *r.CostNanoUSD != 1000 || r.RatesSource != nil {
				t.Errorf("known is %+v", r)
			}
		default:
			if *r.CostNanoUSD != 7 || *r.RatesSource != "override" || r.CostReason != nil {
				t.Errorf("priced is %+v", r)
			}
		}
	}
	if priced, err := Backfill(t.Context(), t.TempDir(), nil); priced != 0 || err != nil {
		t.Errorf("nothing: %d, %v", priced, err)
	}
	must(t, l.Close(t.Context()))
}
