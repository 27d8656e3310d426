package ledger

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	sqlite3 "modernc.org/sqlite/lib"
)

// relic is a private copy of a corrupt database, opened for what can still be
// read of it. A copy, because SQLite may write even when it reads: it replays
// a write-ahead log, and the original is the user's only evidence.
type relic struct {
	db    *sql.DB
	dir   string
	pages int64
	query string
	slugs map[string]string // project id to slug
}

// pageSize is that of every database of ours: SQLite's default since 3.12.
const pageSize = 4096

// openRelic copies the database at path into the directory dir, which must not
// exist, and opens the copy. close removes it.
func openRelic(ctx context.Context, path, dir string) (_ *relic, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	r := &relic{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	copied := filepath.Join(dir, databaseName)
	size, err := copyFile(copied, path)
	if err != nil {
		return nil, err
	}
	r.pages = size / pageSize
	if _, err := copyFile(copied+"-wal", path+"-wal"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err = r.connect(ctx, copied); err == nil || !isDamage(err) {
		return r, err
	}
	// The first page, with the header and the names of all tables, is gone.
	// That of an empty ledger says the same: migrations make the tables in
	// one order, so the roots of both lie on the same pages.
	if err := r.db.Close(); err != nil {
		return nil, err
	}
	if err := graft(ctx, copied, filepath.Join(dir, "empty")); err != nil {
		return nil, err
	}
	return r, r.connect(ctx, copied)
}

func (r *relic) connect(ctx context.Context, path string) (err error) {
	r.db, err = sql.Open("sqlite", dsn(path, url.Values{"mode": {"rw"}}, "query_only(1)", "temp_store(MEMORY)", "trusted_schema(0)"))
	if err != nil {
		return err
	}
	r.db.SetMaxOpenConns(1)
	lacks, err := lackingColumns(ctx, r.db)
	if err != nil {
		return err
	}
	if lacks["id"] {
		return fmt.Errorf("%w: it has no table of requests", errCorrupt)
	}
	names := slices.Clone(columns)
	for i, c := range names {
		switch {
		case c == "project":
			names[i] = "project_id"
		case lacks[c]:
			names[i] = "NULL"
		}
	}
	r.query = "SELECT rowid, " + strings.Join(names, ", ") + " FROM requests NOT INDEXED WHERE rowid BETWEEN ? AND ? ORDER BY rowid"
	r.slugs = r.readSlugs(ctx)
	return nil
}

func (r *relic) close() error {
	var err error
	if r.db != nil {
		err = r.db.Close()
	}
	return errors.Join(err, os.RemoveAll(r.dir))
}

// readSlugs returns what can be read of the projects.
func (r *relic) readSlugs(ctx context.Context) map[string]string {
	slugs := map[string]string{}
	for _, order := range []string{"rowid", "rowid DESC"} {
		rows, err := r.db.QueryContext(ctx, "SELECT id, slug FROM projects NOT INDEXED ORDER BY "+order)
		if err != nil {
			continue
		}
		for rows.Next() {
			var id, slug string
			if rows.Scan(&id, &slug) == nil {
				slugs[id] = slug
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err == nil {
			break
		}
	}
	return slugs
}

// rowids returns, in order, the rowids of requests that one of the indexes
// still names. An index is a tree of its own, and so a second witness.
func (r *relic) rowids(ctx context.Context) []int64 {
	var ids []int64
	for _, index := range []string{"requests_by_time", "requests_by_project", "requests_by_provider"} {
		for _, order := range []string{"", " DESC"} {
			by := map[string]string{
				"requests_by_time": "requested_at", "requests_by_project": "project_id", "requests_by_provider": "provider",
			}[index]
			whole := r.collect(ctx, "SELECT rowid FROM requests INDEXED BY "+index+" ORDER BY "+by+order, &ids)
			slices.Sort(ids)
			ids = slices.Compact(ids)
			if whole {
				return ids
			}
		}
	}
	return ids
}

func (r *relic) collect(ctx context.Context, query string, ids *[]int64) (whole bool) {
	rows, err := r.db.QueryContext(ctx, query)
	if err != nil {
		return false
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if rows.Scan(&id) == nil {
			*ids = append(*ids, id)
		}
	}
	return rows.Err() == nil
}

// rows calls emit for every row that can be read. Where a range of rowids
// cannot be read to its end, it halves what is left of it, and looks at the
// largest pieces first: a bad page costs some 20 attempts, and how many there
// are is bounded.
func (r *relic) rows(ctx context.Context, last int64, emit func(rowid int64, row Row) error) error {
	type span struct{ from, to int64 }
	todo := []span{{1, last}}
	for probes := 1024 + 16*r.pages; len(todo) > 0 && probes > 0; {
		s := todo[0]
		todo = todo[1:]
		read, err := r.read(ctx, s.from, s.to, emit)
		if err == nil {
			continue
		}
		if !isDamage(err) {
			return err
		}
		probes--
		from := max(s.from, read+1)
		if from >= s.to {
			continue
		}
		middle := from + (s.to-from)/2
		todo = append(todo, span{from, middle}, span{middle + 1, s.to})
	}
	return nil
}

// read emits the rows of a range, and returns the last rowid that it saw.
func (r *relic) read(ctx context.Context, from, to int64, emit func(int64, Row) error) (last int64, err error) {
	rows, err := r.db.QueryContext(ctx, r.query, from, to)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		row, err := scanRow(rows, &last)
		if err != nil || row.ID == "" {
			continue // the page is in order, and what is in it is not
		}
		slug, ok := r.slugs[row.Project]
		if !ok {
			slug, row.ProjectSource = "", "recovered"
		}
		row.Project = slug
		if err := emit(last, fitRow(row)); err != nil {
			return last, err
		}
	}
	return last, rows.Err()
}

// lastRowid is a rowid that no row lies beyond.
func (r *relic) lastRowid(ctx context.Context, known []int64) int64 {
	// No row is so short that a page has room for so many.
	last := r.pages * (pageSize / 64)
	var found sql.NullInt64
	if r.db.QueryRowContext(ctx, "SELECT max(rowid) FROM requests NOT INDEXED").Scan(&found) == nil {
		last = found.Int64
	}
	if n := len(known); n > 0 {
		last = max(last, known[n-1])
	}
	return last
}

// isDamage reports whether err may end where the damage does.
func isDamage(err error) bool {
	return isCorrupt(err) || primaryCode(err) == sqlite3.SQLITE_IOERR
}

// graft replaces the first page of the database at path with that of an empty
// ledger, which it makes at empty.
func graft(ctx context.Context, path, empty string) error {
	steps, err := migrations()
	if err != nil {
		return err
	}
	fresh, err := sql.Open("sqlite", dsn(empty, nil))
	if err != nil {
		return err
	}
	if err := errors.Join(migrate(ctx, fresh, steps, nil), fresh.Close()); err != nil {
		return err
	}
	page := make([]byte, pageSize)
	from, err := os.Open(empty)
	if err != nil {
		return err
	}
	defer from.Close()
	if _, err := io.ReadFull(from, page); err != nil {
		return err
	}
	to, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer to.Close()
	st, err := to.Stat()
	if err != nil {
		return err
	}
	// The header's size of the database, and its list of free pages
	// (https://sqlite.org/fileformat.html section 1.3).
	binary.BigEndian.PutUint32(page[28:], uint32(st.Size()/pageSize))
	clear(page[32:40])
	_, err = to.WriteAt(page, 0)
	return err
}

func copyFile(to, from string) (size int64, err error) {
	src, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	size, err = io.Copy(dst, src)
	return size, errors.Join(err, dst.Close())
}
