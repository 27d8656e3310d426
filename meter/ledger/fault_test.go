package ledger

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// until waits for a change of the ledger that makes done true.
func until(t *testing.T, l *Ledger, done func(Status) bool) Status {
	t.Helper()
	for {
		l.mu.Lock()
		changed := l.changed
		l.mu.Unlock()
		s := l.Status()
		if done(s) {
			return s
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatalf("the test's time is up; status %+v", s)
		}
	}
}

func TestLockedDatabaseIsStoredLater(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir, MaxPending: 16}, quick())
	must(t, l.Flush(t.Context()))
	other, err := sql.Open("sqlite", filepath.Join(dir, databaseName))
	must(t, err)
	defer other.Close()
	conn, err := other.Conn(t.Context())
	must(t, err)
	defer conn.Close()
	_, err = conn.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	must(t, err)

	const n = 100
	for i := range n {
		must(t, l.Finish(row(fmt.Sprint(i), i)))
	}
	if err := l.Flush(t.Context()); !errors.Is(err, ErrJournaled) {
		t.Errorf("Flush with a locked database = %v, want ErrJournaled", err)
	}
	if err := l.Storable(); err != nil {
		t.Errorf("Storable with a journal = %v", err)
	}
	if s := l.Status(); s.DatabaseErr == nil || !s.Behind || s.InMemory != 0 {
		t.Errorf("status %+v, want a database error and rows in the journal only", s)
	}
	if got := len(readAll(t, dir, Query{})); got != n {
		t.Errorf("a reader sees %d rows meanwhile, want %d", got, n)
	}
	until(t, l, func(Status) bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		a := l.journal.active()
		return a.synced == a.size
	})
	_, err = conn.ExecContext(t.Context(), "ROLLBACK")
	must(t, err)
	until(t, l, func(s Status) bool { return s.DatabaseErr == nil && s.Pending == 0 && !s.Behind })
	must(t, l.Close(t.Context()))
	must(t, os.RemoveAll(filepath.Join(dir, journalName)))
	if got := len(readAll(t, dir, Query{})); got != n {
		t.Errorf("%d rows in the database, want %d", got, n)
	}
}

func TestCloseWithLockedDatabaseLeavesTheJournal(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir}, quick())
	must(t, l.Flush(t.Context()))
	other, err := sql.Open("sqlite", filepath.Join(dir, databaseName)+"?_txlock=immediate")
	must(t, err)
	defer other.Close()
	tx, err := other.Begin()
	must(t, err)
	must(t, l.Finish(row("a", 0)))
	if err := l.Close(t.Context()); !errors.Is(err, ErrJournaled) {
		t.Errorf("Close = %v, want ErrJournaled", err)
	}
	must(t, tx.Rollback())
	l = mustOpen(t, Config{Dir: dir}, quick())
	must(t, l.Close(t.Context()))
	must(t, os.RemoveAll(filepath.Join(dir, journalName)))
	if got := ids(readAll(t, dir, Query{})); len(got) != 1 {
		t.Errorf("rows %v, want [a]", got)
	}
}

// fill makes a database of many pages and returns the rows in it.
func fill(t *testing.T, dir string, n int) {
	t.Helper()
	l := mustOpen(t, Config{Dir: dir}, quick())
	for i := range n {
		must(t, l.Finish(fullRow(fmt.Sprintf("old-%04d", i))))
	}
	must(t, l.Close(t.Context()))
}

func TestCorruptDatabaseIsSetAside(t *testing.T) {
	corruptions := map[string]func(data []byte){
		"header":   func(data []byte) { copy(data, "This is not a database.") },
		"one page": func(data []byte) { clear(data[len(data)/4096/2*4096:][:4096]) },
		"schema":   func(data []byte) { clear(data[100:4096]) },
	}
	for name, corrupt := range corruptions {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir, 200)
			path := filepath.Join(dir, databaseName)
			data, err := os.ReadFile(path)
			must(t, err)
			corrupt(data)
			must(t, os.WriteFile(path, data, 0o600))

			l := mustOpen(t, Config{Dir: dir}, quick())
			must(t, l.Begin(Opening{ID: "new", RequestedAt: start}))
			must(t, l.Finish(row("new", 0)))
			must(t, l.Flush(t.Context()))
			s := l.Status()
			if len(s.SetAside) != 1 {
				t.Fatalf("set aside %v, want one", s.SetAside)
			}
			kept, err := os.ReadFile(s.SetAside[0])
			must(t, err)
			if string(kept) != string(data) {
				t.Error("the corrupt database was changed")
			}
			found := false
			for _, r := range readAll(t, dir, Query{}) {
				found = found || r.ID == "new"
			}
			if !found {
				t.Error("the new row is not stored")
			}
			must(t, l.Close(t.Context()))
			l = mustOpen(t, Config{Dir: dir}, quick())
			if s := l.Status(); len(s.SetAside) != 1 {
				t.Errorf("after a restart set aside %v, want one", s.SetAside)
			}
		})
	}
}

// Nobody commits anything after the damage: it is found all the same.
func TestDatabaseCorruptedWhileIdle(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 200)
	l := mustOpen(t, Config{Dir: dir}, quick())
	must(t, l.Finish(row("before", 0)))
	must(t, l.Flush(t.Context()))
	f, err := os.OpenFile(filepath.Join(dir, databaseName), os.O_RDWR, 0)
	must(t, err)
	st, err := f.Stat()
	must(t, err)
	_, err = f.WriteAt(make([]byte, st.Size()/2), st.Size()/2)
	must(t, errors.Join(err, f.Close()))
	until(t, l, func(s Status) bool { return len(s.SetAside) == 1 && s.DatabaseErr == nil })
	must(t, l.Finish(row("after", 0)))
	must(t, l.Close(t.Context()))
	found := map[string]bool{}
	for _, r := range readAll(t, dir, Query{}) {
		found[r.ID] = true
	}
	if !found["after"] {
		t.Error("the row after the damage is missing")
	}
}

func TestDatabaseCorruptedWhileOpen(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 200)
	l := mustOpen(t, Config{Dir: dir}, quick())
	must(t, l.Flush(t.Context()))
	path := filepath.Join(dir, databaseName)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	st, err := f.Stat()
	must(t, err)
	_, err = f.WriteAt(make([]byte, st.Size()-4096), 4096)
	must(t, err)
	must(t, f.Close())
	// A commit of another connection makes the writer drop its cached pages.
	other, err := sql.Open("sqlite", path)
	must(t, err)
	steps, err := migrations()
	must(t, err)
	_, err = other.Exec(fmt.Sprintf("PRAGMA user_version = %d", len(steps)))
	must(t, err)
	for i := range 100 {
		must(t, l.Finish(row(fmt.Sprint("new-", i), i)))
	}
	s := until(t, l, func(s Status) bool { return s.Pending == 0 && s.DatabaseErr == nil && len(s.SetAside) == 1 })
	must(t, other.Close())
	if s.Lost != 0 {
		t.Errorf("lost %d rows", s.Lost)
	}
	n := 0
	for _, r := range readAll(t, dir, Query{}) {
		if strings.HasPrefix(r.ID, "new-") {
			n++
		}
	}
	if n != 100 {
		t.Errorf("%d new rows, want 100", n)
	}
}

func TestDeletedJournalIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir}, quick())
	must(t, l.Begin(Opening{ID: "open", RequestedAt: start}))
	// At once: piece by piece, it would be made anew in between.
	must(t, os.Rename(filepath.Join(dir, journalName), filepath.Join(t.TempDir(), "gone")))
	until(t, l, func(s Status) bool {
		segments, err := listSegments(filepath.Join(dir, journalName))
		return err == nil && len(segments) > 0 && s.InMemory == 0
	})
	crash(l)
	l = mustOpen(t, Config{Dir: dir}, quick())
	must(t, l.Close(t.Context()))
	if rows := readAll(t, dir, Query{}); len(rows) != 1 || rows[0].Status != statusUnknown {
		t.Errorf("rows %+v, want the unfinished one", rows)
	}
}

func TestSecondWriterHarmsNothing(t *testing.T) {
	dir := t.TempDir()
	patient := quick()
	patient.busy = defaultTuning().busy
	first := mustOpen(t, Config{Dir: dir}, patient)
	// SQLite does not wait for another connection that turns a new database
	// to WAL mode, and the second's Close would report that.
	must(t, first.Flush(t.Context()))
	must(t, first.Begin(Opening{ID: "a", RequestedAt: start}))
	second := mustOpen(t, Config{Dir: dir}, patient)
	must(t, second.Finish(row("b", 0)))
	must(t, second.Close(t.Context()))
	must(t, first.Finish(row("a", 0)))
	must(t, first.Close(t.Context()))
	for _, r := range readAll(t, dir, Query{}) {
		if r.Status != "success" {
			t.Errorf("row %s has status %q", r.ID, r.Status)
		}
	}
}

// A row that the replay gave up on comes after all: from a writer that the
// lock did not stop.
func TestRowReplacesItsPlaceholder(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir}, quick())
	must(t, l.Finish(unknownRow(fitOpening(Opening{ID: "a", RequestedAt: start}))))
	must(t, l.Flush(t.Context()))
	must(t, l.Finish(row("a", 0)))
	must(t, l.Flush(t.Context()))
	must(t, l.Finish(unknownRow(fitOpening(Opening{ID: "a", RequestedAt: start}))))
	must(t, l.Close(t.Context()))
	if rows := readAll(t, dir, Query{}); len(rows) != 1 || rows[0].Status != "success" {
		t.Errorf("rows %+v, want one success", rows)
	}
}

// TestNothingElseIsStored looks for strings that the caller had at hand and
// did not put into a field.
func TestNothingElseIsStored(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("ANTHROPIC_API_KEY", "sk-planted-key")
	l := mustOpen(t, Config{Dir: dir}, quick())
	must(t, l.Begin(Opening{ID: "a", RequestedAt: start, Client: "marker-in-a-field"}))
	must(t, l.Finish(fullRow("b")))
	must(t, l.Flush(t.Context()))
	found := false
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "sk-planted-key") {
			t.Errorf("%s holds the key", path)
		}
		found = found || strings.Contains(string(data), "marker-in-a-field")
		return err
	}))
	if !found {
		t.Error("the search does not find what is there")
	}
}
