package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/haltonlabs/halton-meter/internal/filelock"
)

// Report is what Check finds in a state directory.
type Report struct {
	// Path is the database's; Bytes its size, with its write-ahead log.
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
	// Schema is the database's, 0 if there is none; Known is this release's.
	Schema int    `json:"schema"`
	Known  int    `json:"known_schema"`
	SQLite string `json:"sqlite"`
	// Rows are those in the database; Oldest and Newest are null without.
	Rows   int64      `json:"rows"`
	Oldest *time.Time `json:"oldest"`
	Newest *time.Time `json:"newest"`
	// Test is "quick_check" or "integrity_check", "" if it did not come to
	// it; Problem is what is wrong with the database, "" if nothing is.
	Test    string `json:"test"`
	Problem string `json:"problem"`

	// InUse reports whether a Ledger has the directory open.
	InUse bool `json:"in_use"`
	// Segments and JournalBytes are the size of the journal.
	Segments     int   `json:"journal_segments"`
	JournalBytes int64 `json:"journal_bytes"`
	// Pending rows are finished and not in the database yet; Open exchanges
	// have no row at all; Damaged stretches of the journal cannot be read.
	Pending int64 `json:"pending_rows"`
	Open    int   `json:"open_exchanges"`
	Damaged int   `json:"damaged_stretches"`
	// ReserveBytes is the journal's room for the time when the disk is full.
	ReserveBytes int64 `json:"reserve_bytes"`
	// SetAside are the corrupt databases that lie beside this one.
	SetAside []SetAside `json:"set_aside"`

	// Err is Problem as an error.
	Err error `json:"-"`
}

// SetAside is one corrupt database.
type SetAside struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
	// Recovery is the last one from it, null if there was none.
	Recovery *Recovery `json:"recovery"`
}

// Check looks at the ledger in dir, beside a daemon or without one, and
// changes nothing. With full it reads every index against its table, which
// takes seconds for a large ledger. What is wrong with the database is in the
// Report; the error says what kept Check from looking.
func Check(ctx context.Context, dir string, full bool) (Report, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Report{}, fmt.Errorf("check ledger: %w", err)
	}
	rep := Report{Path: filepath.Join(dir, databaseName), SetAside: []SetAside{}}
	rep.Bytes = fileSize(rep.Path) + fileSize(rep.Path+"-wal")
	if rep.InUse, err = inUse(dir); err != nil {
		return rep, fmt.Errorf("check ledger: %w", err)
	}
	rows, err := rep.journal(filepath.Join(dir, journalName))
	if err != nil {
		return rep, fmt.Errorf("check ledger: %w", err)
	}
	for _, path := range listAside(dir) {
		rep.SetAside = append(rep.SetAside, SetAside{Path: path, Bytes: fileSize(path)})
	}
	if err := rep.database(ctx, rows, full); err != nil {
		if ctx.Err() != nil {
			return rep, fmt.Errorf("check ledger: %w", err)
		}
		rep.Err, rep.Problem = err, err.Error()
		rep.Pending = max(rep.Pending, int64(len(rows)))
	}
	return rep, nil
}

func fileSize(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}

// inUse asks for the writer's lock, but not if that would make its file.
func inUse(dir string) (bool, error) {
	if !exists(ownerLock(dir)) {
		return false, nil
	}
	lock, err := filelock.Try(ownerLock(dir))
	if errors.Is(err, filelock.ErrHeld) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return false, lock.Unlock()
}

// journal reads the journal, and returns the rows in it.
func (rep *Report) journal(dir string) ([]Row, error) {
	segments, err := listSegments(dir)
	if err != nil {
		return nil, err
	}
	pieces, _ := filepath.Glob(filepath.Join(escapeGlob(dir), reserveName+"*"))
	for _, path := range pieces {
		rep.ReserveBytes += fileSize(path)
	}
	var rows []Row
	open := map[string]bool{}
	for _, path := range segments {
		damaged, err := readSegment(path, func(k kind, payload []byte) {
			switch k {
			case kindRow:
				if r, err := decodeRow(payload); err == nil {
					rows = append(rows, r)
					delete(open, r.ID)
				}
			case kindOpening:
				if o, err := decodeOpening(payload); err == nil {
					open[o.ID] = true
				}
			case kindVoid:
				if o, err := decodeOpening(payload); err == nil {
					delete(open, o.ID)
				}
			}
		})
		if errors.Is(err, fs.ErrNotExist) {
			continue // just stored and removed
		}
		if err != nil {
			return nil, err
		}
		rep.Segments++
		rep.JournalBytes += fileSize(path)
		rep.Damaged += damaged
	}
	rep.Open = len(open)
	return rows, nil
}

// database looks into the database; its error is what is wrong with it.
func (rep *Report) database(ctx context.Context, journaled []Row, full bool) (err error) {
	steps, err := migrations()
	if err != nil {
		return err
	}
	rep.Known = len(steps)
	v, err := openView(ctx, rep.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	if err := v.db.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&rep.SQLite); err != nil {
		return err
	}
	if !exists(rep.Path) {
		rep.Pending = int64(len(journaled))
		return nil
	}
	if rep.Schema, err = schemaVersion(ctx, v.db); err != nil {
		return err
	}
	rep.Test = "quick_check"
	if full {
		rep.Test = "integrity_check"
	}
	if err := check(ctx, v.db, rep.Test); err != nil {
		return err
	}
	var oldest, newest *int64
	err = v.db.QueryRowContext(ctx, "SELECT count(*), min(requested_at), max(requested_at) FROM main.requests").
		Scan(&rep.Rows, &oldest, &newest)
	if err != nil {
		return err
	}
	if oldest != nil {
		from, to := time.UnixMicro(*oldest).UTC(), time.UnixMicro(*newest).UTC()
		rep.Oldest, rep.Newest = &from, &to
	}
	if err := v.overlay(ctx, journaled); err != nil {
		return err
	}
	err = v.db.QueryRowContext(ctx, `SELECT count(*) FROM temp.journaled j
		WHERE NOT EXISTS (SELECT 1 FROM main.requests r WHERE r.id = j.id)`).Scan(&rep.Pending)
	if err != nil || rep.Schema < 2 {
		return err // recoveries came with schema 2
	}
	done, err := readRecoveries(ctx, v.db)
	for i, aside := range rep.SetAside {
		for _, r := range done {
			if r.File == filepath.Base(aside.Path) {
				r.File = aside.Path
				rep.SetAside[i].Recovery = &r
			}
		}
	}
	return err
}
