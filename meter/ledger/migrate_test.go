package ledger

import (
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "rewrite testdata/schema.sql")

func testDatabase(t *testing.T, path string, steps []string) (*database, error) {
	t.Helper()
	db, err := openDatabase(t.Context(), path, steps, time.Second, nil)
	if err == nil {
		t.Cleanup(func() { db.close() })
	}
	return db, err
}

func schema(t *testing.T, db *sql.DB) string {
	t.Helper()
	rows, err := db.Query("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name")
	must(t, err)
	defer rows.Close()
	var b strings.Builder
	for rows.Next() {
		var s string
		must(t, rows.Scan(&s))
		b.WriteString(s + ";\n")
	}
	must(t, rows.Err())
	return b.String()
}

func TestSchemaIsGolden(t *testing.T) {
	steps, err := migrations()
	must(t, err)
	db, err := testDatabase(t, filepath.Join(t.TempDir(), "db.sqlite"), steps)
	must(t, err)
	got, golden := schema(t, db.db), filepath.Join("testdata", "schema.sql")
	if *update {
		must(t, os.WriteFile(golden, []byte(got), 0o600))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if got != string(want) {
		t.Errorf("schema\n%s\nwant\n%s", got, want)
	}
}

func TestPragmas(t *testing.T) {
	steps, err := migrations()
	must(t, err)
	db, err := testDatabase(t, filepath.Join(t.TempDir(), "a %3f?#b.sqlite"), steps)
	must(t, err)
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "trusted_schema": "0",
		"fullfsync": "1", "checkpoint_fullfsync": "1", "temp_store": "2", "busy_timeout": "1000",
		"journal_size_limit": "67108864", "application_id": "1213035634", "user_version": fmt.Sprint(len(steps)),
	} {
		var got string
		must(t, db.db.QueryRow("PRAGMA "+pragma).Scan(&got))
		if got != want {
			t.Errorf("%s = %s, want %s", pragma, got, want)
		}
	}
}

func TestSQLiteIsNewEnough(t *testing.T) {
	db, err := sql.Open("sqlite", ":memory:")
	must(t, err)
	defer db.Close()
	must(t, checkVersion(t.Context(), db))
}

func TestMigrationBacksUpAndGoesForward(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "db.sqlite")
	steps, err := migrations()
	must(t, err)
	db, err := testDatabase(t, path, steps)
	must(t, err)
	_, err = db.store(t.Context(), []Row{fullRow("old")})
	must(t, err)
	must(t, db.close())

	broken := append(steps, "ALTER TABLE requests ADD COLUMN extra TEXT; SELECT nonsense")
	if _, err := testDatabase(t, path, broken); err == nil {
		t.Fatal("a failing step succeeded")
	}
	later := append(steps, "ALTER TABLE requests ADD COLUMN extra TEXT")
	db, err = testDatabase(t, path, later)
	must(t, err)
	var extra sql.NullString
	must(t, db.db.QueryRow("SELECT extra FROM requests WHERE id = 'old'").Scan(&extra))

	backups, err := filepath.Glob(fmt.Sprintf("%s.schema%d-*.bak", path, len(steps)))
	must(t, err)
	if len(backups) != 2 {
		t.Fatalf("backups %v, want one of each attempt", backups)
	}
	for _, b := range backups {
		st, err := os.Stat(b)
		must(t, err)
		if st.Mode().Perm() != 0o600 {
			t.Errorf("mode of %s = %o", b, st.Mode().Perm())
		}
		// A backup is a ledger of its own.
		old, err := testDatabase(t, b, steps)
		must(t, err)
		must(t, old.db.QueryRow("SELECT id FROM requests WHERE id = 'old'").Scan(&extra))
	}
}

func TestNewerSchemaIsRefusedAndJournaled(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "db.sqlite")
	steps, err := migrations()
	must(t, err)
	_, err = testDatabase(t, path, append(steps, "CREATE TABLE future (x) STRICT", "SELECT 1"))
	if err == nil {
		t.Fatal("a column without a type in a STRICT table")
	}
	db, err := testDatabase(t, path, append(steps, "CREATE TABLE future (x TEXT) STRICT"))
	must(t, err)
	must(t, db.close())

	l := mustOpen(t, Config{Dir: dir}, quick())
	must(t, l.Finish(row("a", 0)))
	if err := l.Flush(t.Context()); !errors.Is(err, ErrJournaled) || !errors.Is(err, ErrNewerSchema) {
		t.Errorf("Flush = %v, want ErrJournaled and ErrNewerSchema", err)
	}
	if err := l.Storable(); err != nil {
		t.Errorf("Storable = %v; the journal works", err)
	}
	if _, err := OpenReader(t.Context(), dir); !errors.Is(err, ErrNewerSchema) {
		t.Errorf("OpenReader = %v, want ErrNewerSchema", err)
	}
	if s := l.Status(); len(s.SetAside) != 0 {
		t.Errorf("set aside %v; it is not corrupt", s.SetAside)
	}
}

func TestAPipeIsNoDatabase(t *testing.T) {
	dir := t.TempDir()
	must(t, unix.Mkfifo(filepath.Join(dir, databaseName), 0o600))
	l := mustOpen(t, Config{Dir: dir}, quick())
	must(t, l.Finish(row("a", 0))) // the journal has it
	until(t, l, func(s Status) bool { return errors.Is(s.DatabaseErr, ErrForeign) })
	if err := l.Close(t.Context()); !errors.Is(err, ErrJournaled) {
		t.Errorf("Close = %v, want ErrJournaled", err)
	}
	if rep, err := Check(t.Context(), dir, false); err != nil || !errors.Is(rep.Err, ErrForeign) {
		t.Errorf("Check = %v, %v, want ErrForeign", rep.Err, err)
	}
}

func TestForeignDatabaseIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "db.sqlite")
	other, err := sql.Open("sqlite", path)
	must(t, err)
	_, err = other.Exec("CREATE TABLE requests (mine TEXT)")
	must(t, err)
	must(t, other.Close())
	l := mustOpen(t, Config{Dir: dir}, quick())
	must(t, l.Finish(row("a", 0)))
	if err := l.Close(t.Context()); !errors.Is(err, ErrJournaled) || !errors.Is(err, ErrForeign) {
		t.Errorf("Close = %v, want ErrJournaled and ErrForeign", err)
	}
	if got, err := listSegments(filepath.Join(dir, "journal")); err != nil || len(got) != 1 {
		t.Errorf("segments %v, %v; want the one with the row", got, err)
	}
}
