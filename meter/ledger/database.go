package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const databaseName = "db.sqlite"

// Versions 3.7.0 to 3.51.2 can corrupt a database in WAL mode that two
// connections use (https://sqlite.org/wal.html#walresetbug).
var minSQLite = []int{3, 51, 3}

// errCorrupt means that quick_check found the database malformed.
var errCorrupt = errors.New("database is corrupt")

// errMoved means that somebody renamed or removed the database.
var errMoved = errors.New("db.sqlite is not the file that was opened")

// dsn names the database at path with the parameters of every connection.
func dsn(path string, params url.Values, pragmas ...string) string {
	for _, p := range pragmas {
		params.Add("_pragma", p)
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: params.Encode()}).String()
}

// database is the writer's handle: one connection, prepared for store.
type database struct {
	db      *sql.DB
	file    fs.FileInfo
	path    string
	project *sql.Stmt
	request *sql.Stmt
}

// openDatabase opens, checks and migrates the database at path, or makes it.
// It does not check sound again, which takes seconds for a large one.
func openDatabase(ctx context.Context, path string, steps []string, busy time.Duration, sound fs.FileInfo) (_ *database, err error) {
	// SQLite would make it with the umask's mode; its -wal and -shm copy it.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	switch {
	case err == nil:
		f.Close()
	case !errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("make database: %w", err)
	}
	d, err := connectDatabase(ctx, path, busy)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if st, err := os.Stat(path); err != nil || sound == nil || !os.SameFile(st, sound) {
		if err := check(ctx, d.db, "quick_check"); err != nil {
			return nil, err
		}
	}
	backup := func(version int) string {
		return fmt.Sprintf("%s.schema%d-%s.bak", path, version, stamp(time.Now()))
	}
	if err := migrate(ctx, d.db, steps, backup); err != nil {
		return nil, err
	}
	if err := d.prepare(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// attachDatabase opens the database at path beside its writer, and leaves the
// schema to that.
func attachDatabase(ctx context.Context, path string, steps []string, busy time.Duration) (_ *database, err error) {
	d, err := connectDatabase(ctx, path, busy)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	version, err := schemaVersion(ctx, d.db)
	switch {
	case err != nil:
		return nil, err
	case version > len(steps):
		return nil, fmt.Errorf("open database: %w", ErrNewerSchema)
	case version < len(steps):
		return nil, fmt.Errorf("open database: %w", ErrOlderSchema)
	}
	if err := d.prepare(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// connectDatabase opens a database that is there, for writing.
func connectDatabase(ctx context.Context, path string, busy time.Duration) (*database, error) {
	if err := regular(path); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dsn(path, url.Values{"mode": {"rw"}, "_txlock": {"immediate"}},
		"busy_timeout("+strconv.FormatInt(busy.Milliseconds(), 10)+")",
		"journal_mode(WAL)",
		// Off the path of any request, so that a loss of power loses no row
		// that was reported as stored.
		"synchronous(FULL)",
		// On macOS fsync(2) does not reach the platter, F_FULLFSYNC does.
		// Elsewhere these two do nothing.
		"fullfsync(1)",
		"checkpoint_fullfsync(1)",
		"foreign_keys(1)",
		"temp_store(MEMORY)",
		"journal_size_limit(67108864)",
		"wal_autocheckpoint(1000)",
		"trusted_schema(0)",
	))
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db.SetMaxOpenConns(1)
	if err := checkVersion(ctx, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &database{db: db, path: path}, nil
}

// regular refuses a pipe in the database's place, whose open waits for its other
// end without an end of its own.
func regular(path string) error {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return fmt.Errorf("open database: %s is not a regular file: %w", path, ErrForeign)
	}
	return nil
}

// prepare readies d for store.
func (d *database) prepare(ctx context.Context) (err error) {
	if d.file, err = os.Stat(d.path); err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	if d.project, err = d.db.PrepareContext(ctx, insertProject); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if d.request, err = d.db.PrepareContext(ctx, insertRequest); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	return nil
}

func (d *database) close() error { return d.db.Close() }

// moved reports whether the file lost its name; SQLite would write on into
// the nameless one.
func (d *database) moved() bool {
	now, err := os.Stat(d.path)
	return err != nil || !os.SameFile(d.file, now)
}

func checkVersion(ctx context.Context, db *sql.DB) error {
	var version string
	if err := db.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version); err != nil {
		return fmt.Errorf("read SQLite version: %w", err)
	}
	var parts []int
	for p := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(p)
		if err != nil {
			return fmt.Errorf("read SQLite version %q: %w", version, err)
		}
		parts = append(parts, n)
	}
	if slices.Compare(parts, minSQLite) < 0 {
		return fmt.Errorf("SQLite %s is older than %v and can corrupt the database", version, minSQLite)
	}
	return nil
}

// check runs SQLite's quick_check or integrity_check.
func check(ctx context.Context, db *sql.DB, pragma string) error {
	rows, err := db.QueryContext(ctx, "PRAGMA "+pragma+"(10)")
	if err != nil {
		return fmt.Errorf("check database: %w", err)
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return fmt.Errorf("check database: %w", err)
		}
		found = append(found, line)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("check database: %w", err)
	}
	if len(found) != 1 || found[0] != "ok" {
		return fmt.Errorf("check database: %w: %s", errCorrupt, strings.Join(found, "; "))
	}
	return nil
}

// primaryCode is SQLite's result code without its extension, 0 for an error
// from elsewhere.
func primaryCode(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0
	}
	return e.Code() & 0xff
}

// isCorrupt reports whether err says that the file is no good database.
func isCorrupt(err error) bool {
	c := primaryCode(err)
	return errors.Is(err, errCorrupt) || c == sqlite3.SQLITE_CORRUPT || c == sqlite3.SQLITE_NOTADB
}

// isPassing reports whether err goes away without opening the file anew.
func isPassing(err error) bool {
	c := primaryCode(err)
	return c == sqlite3.SQLITE_BUSY || c == sqlite3.SQLITE_LOCKED || c == sqlite3.SQLITE_FULL
}

// isRefusal reports whether err is about the row, not about the database.
func isRefusal(err error) bool {
	c := primaryCode(err)
	return c == sqlite3.SQLITE_CONSTRAINT || c == sqlite3.SQLITE_MISMATCH || c == sqlite3.SQLITE_TOOBIG
}

// setAside renames the database at path and its log, so that a new one can
// take its place, and returns the new name. Nothing is deleted: what can be
// read of it is still the user's.
func setAside(path string) (string, error) {
	aside := path + ".corrupt-" + stamp(time.Now())
	// The log first: without its database it means nothing to the next one,
	// and beside it, it would be replayed into it.
	for _, suffix := range []string{"-wal", "-shm", ""} {
		err := os.Rename(path+suffix, aside+suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("set corrupt database aside: %w", err)
		}
	}
	return aside, nil
}

// listAside returns the databases that were set aside in dir.
func listAside(dir string) []string {
	found, _ := filepath.Glob(filepath.Join(escapeGlob(dir), databaseName+".corrupt-*Z"))
	return found
}

func escapeGlob(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}
