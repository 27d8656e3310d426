package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// damage overwrites the live database of a ledger that nobody has open.
func damage(t *testing.T, dir string, corrupt func(data []byte)) {
	t.Helper()
	path := filepath.Join(dir, databaseName)
	data, err := os.ReadFile(path)
	must(t, err)
	corrupt(data)
	must(t, os.WriteFile(path, data, 0o600))
}

func countOld(t *testing.T, dir string) (n int64) {
	t.Helper()
	for _, r := range readAll(t, dir, Query{}) {
		if strings.HasPrefix(r.ID, "old-") {
			n++
		}
	}
	return n
}

// damages are what may happen to a database of 1000 rows, and how many of
// them at least must be found again.
var damages = map[string]struct {
	corrupt func(data []byte)
	found   int64
}{
	"header":            {func(data []byte) { copy(data, "This is not a database.") }, 1000},
	"first page":        {func(data []byte) { clear(data[:pageSize]) }, 1000},
	"schema":            {func(data []byte) { clear(data[100:pageSize]) }, 1000},
	"one page":          {func(data []byte) { clear(data[len(data)/pageSize/2*pageSize:][:pageSize]) }, 900},
	"every tenth page":  {func(data []byte) { everyTenth(data, func(page []byte) { clear(page) }) }, 600},
	"noise here, there": {func(data []byte) { everyTenth(data, func(page []byte) { copy(page, "\x0d\xff\xff\xff\xff") }) }, 600},
	"the second half":   {func(data []byte) { clear(data[len(data)/2:]) }, 300},
	"all of it":         {func(data []byte) { clear(data) }, 0},
}

func everyTenth(data []byte, do func(page []byte)) {
	for i := 15; i < len(data)/pageSize; i += 10 {
		do(data[i*pageSize:][:pageSize])
	}
}

func TestRecover(t *testing.T) {
	whole := t.TempDir()
	fill(t, whole, 1000)
	for name, c := range damages {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := copyFile(filepath.Join(dir, databaseName), filepath.Join(whole, databaseName))
			must(t, err)
			damage(t, dir, c.corrupt)
			done, err := Recover(t.Context(), dir)
			must(t, err)
			if len(done) != 1 {
				t.Fatalf("recoveries %+v, want one", done)
			}
			r, got := done[0], countOld(t, dir)
			if r.Found < c.found || r.Found != r.Added || r.Found != got || r.Expected < r.Found || r.Expected > 1000 {
				t.Errorf("%+v, and %d rows; want %d or more", r, got, c.found)
			}
			again, err := Recover(t.Context(), dir)
			must(t, err)
			if again[0].Added != 0 || again[0].Found != r.Found || countOld(t, dir) != got {
				t.Errorf("a second time %+v, first %+v", again, r)
			}
			if _, err := os.Stat(filepath.Join(dir, "recovery.tmp")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the copy is left: %v", err)
			}
			for _, row := range readAll(t, dir, Query{Limit: 10}) {
				want := fullRow(row.ID)
				if row.Project != want.Project || *row.CostNanoUSD != *want.CostNanoUSD || row.SessionID != want.SessionID {
					t.Errorf("row %+v was changed", row)
				}
			}
		})
	}
}

// What still lay in the write-ahead log is found too.
func TestRecoverReadsTheLog(t *testing.T) {
	dir, later := t.TempDir(), t.TempDir()
	l := mustOpen(t, Config{Dir: dir}, quick())
	for i := range 50 {
		must(t, l.Finish(fullRow(fmt.Sprintf("old-%04d", i))))
	}
	must(t, l.Flush(t.Context()))
	aside := filepath.Join(dir, databaseName+".corrupt-20260101T000000.000000Z")
	for _, suffix := range []string{"", "-wal"} {
		_, err := copyFile(aside+suffix, filepath.Join(dir, databaseName)+suffix)
		must(t, err)
	}
	done, err := Recover(t.Context(), later, aside)
	must(t, err)
	if len(done) != 1 || done[0].Found != 50 || countOld(t, later) != 50 {
		t.Errorf("recoveries %+v", done)
	}
}

// A daemon recovers by itself what it sets aside, once, behind its own rows.
func TestLedgerRecoversWhatItSetsAside(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 300)
	damage(t, dir, damages["one page"].corrupt)
	l := mustOpen(t, Config{Dir: dir}, quick())
	must(t, l.Finish(row("new", 0)))
	must(t, l.Flush(t.Context()))
	recovered := func(Status) bool {
		done, err := l.recovered(t.Context(), listAside(dir)[0])
		return done && err == nil
	}
	until(t, l, recovered)
	if n := countOld(t, dir); n < 250 {
		t.Errorf("%d rows, want most of 300", n)
	}
	_, err := Recover(t.Context(), dir)
	must(t, err) // beside the daemon too
	must(t, l.Close(t.Context()))
}

func TestRecoverIsRefused(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir}, quick())
	must(t, l.Flush(t.Context()))
	if _, err := Recover(t.Context(), dir, filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	l.stop()
	l.work.Wait()
	damage(t, dir, damages["header"].corrupt)
	must(t, errors.Join(os.RemoveAll(filepath.Join(dir, databaseName+"-wal")), os.RemoveAll(filepath.Join(dir, databaseName+"-shm"))))
	if _, err := Recover(t.Context(), dir); !errors.Is(err, ErrInUse) {
		t.Errorf("with a daemon's corrupt database: %v, want ErrInUse", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	crash(l)
	if _, err := Recover(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("with no time: %v", err)
	}
	tight := defaultTuning()
	tight.disk.free = func(string) (uint64, error) { return recoveryMargin, nil }
	if _, err := recoverFile(t.Context(), dir, filepath.Join(dir, databaseName), tight); err == nil || !strings.Contains(err.Error(), "MB free") {
		t.Errorf("with a full disk: %v", err)
	}
}

func TestRetention(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	days := func(id string, n int) Row {
		r := row(id, 0)
		r.RequestedAt = now.AddDate(0, 0, -n)
		return r
	}
	l := mustOpen(t, Config{Dir: dir}, quick())
	for i := range 3*sideRows + 1 {
		must(t, l.Finish(days(fmt.Sprintf("old-%d", i), 31)))
	}
	must(t, l.Finish(days("young", 29)))
	must(t, l.Close(t.Context()))

	tune := quick()
	tune.retainEvery = time.Millisecond
	l = mustOpen(t, Config{Dir: dir, KeepDays: 30}, tune)
	left := func(n int) func(Status) bool {
		return func(Status) bool { return len(readAll(t, dir, Query{})) == n }
	}
	until(t, l, left(1))
	// And again, without a restart.
	must(t, l.Finish(days("late", 40)))
	must(t, l.Finish(days("later", 3)))
	must(t, l.Flush(t.Context()))
	until(t, l, left(2))
	must(t, l.Close(t.Context()))

	l = mustOpen(t, Config{Dir: dir}, tune)
	must(t, l.Finish(days("for ever", 4000)))
	must(t, l.Close(t.Context()))
	if got := ids(readAll(t, dir, Query{})); len(got) != 3 || got[0] != "for ever" {
		t.Errorf("rows %v, want all three", got)
	}
}
