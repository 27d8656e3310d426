package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/haltonlabs/halton-meter/internal/filelock"
)

// Recovery is what came out of one corrupt database.
type Recovery struct {
	// File is the database's path; EndedAt is when it was read.
	File    string    `json:"file"`
	EndedAt time.Time `json:"ended_at"`
	// Expected is how many rows are known to have been in it, Found how many
	// of them could be read, and Added how many of these the ledger lacked.
	Expected int64 `json:"expected"`
	Found    int64 `json:"found"`
	Added    int64 `json:"added"`
}

// Recover reads what is left in the databases that were set aside in dir, or
// in the given files, and stores the rows that the ledger lacks. A row that
// is there already stays as it is, so it may be called again, and beside a
// daemon. Without one, a corrupt db.sqlite is first set aside and replaced;
// with one the error is then ErrInUse. The files are not changed.
func Recover(ctx context.Context, dir string, files ...string) ([]Recovery, error) {
	t := defaultTuning()
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	if err := ensureDatabase(ctx, dir, t.busy); err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	if len(files) == 0 {
		files = listAside(dir)
	}
	var done []Recovery
	for _, file := range files {
		r, err := recoverFile(ctx, dir, file, t)
		if err != nil {
			return done, fmt.Errorf("recover %s: %w", file, err)
		}
		done = append(done, r)
	}
	return done, nil
}

// ensureDatabase sees to a database that takes rows.
func ensureDatabase(ctx context.Context, dir string, busy time.Duration) error {
	steps, err := migrations()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, databaseName)
	if err := os.MkdirAll(filepath.Join(dir, journalName), 0o700); err != nil {
		return err
	}
	owner, err := filelock.Try(ownerLock(dir))
	if errors.Is(err, filelock.ErrHeld) {
		db, err := attachDatabase(ctx, path, steps, busy)
		if isCorrupt(err) {
			return fmt.Errorf("%w: %w", ErrInUse, err)
		}
		if err != nil {
			return err
		}
		return db.close()
	}
	if err != nil {
		return err
	}
	defer owner.Unlock()
	db, err := openDatabase(ctx, path, steps, busy, nil)
	if isCorrupt(err) {
		if _, err := setAside(path); err != nil {
			return err
		}
		db, err = openDatabase(ctx, path, steps, busy, nil)
	}
	if err != nil {
		return err
	}
	return db.close()
}

func ownerLock(dir string) string { return filepath.Join(dir, journalName, "lock") }

// recoveryMargin is what must stay free on the disk beside the copy.
const recoveryMargin = 64 << 20

// recoverFile stores the rows of one database, in small transactions beside
// the writer's.
func recoverFile(ctx context.Context, dir, file string, t tuning) (Recovery, error) {
	result := Recovery{File: file}
	lock, err := filelock.Try(filepath.Join(dir, journalName, "recovery.lock"))
	if err != nil {
		return result, err
	}
	defer lock.Unlock()
	copies := filepath.Join(dir, "recovery.tmp")
	if err := os.RemoveAll(copies); err != nil { // of one that was killed
		return result, err
	}
	if err := enoughRoom(dir, file, t.disk); err != nil {
		return result, err
	}
	steps, err := migrations()
	if err != nil {
		return result, err
	}
	db, err := attachDatabase(ctx, filepath.Join(dir, databaseName), steps, t.busy)
	if err != nil {
		return result, err
	}
	defer db.close()
	old, err := openRelic(ctx, file, copies)
	switch {
	case err == nil:
		defer old.close()
		err = result.move(ctx, old, db)
	case isDamage(err):
		err = nil // nothing is left in it, and that is a result too
	}
	if err != nil {
		return result, err
	}
	result.EndedAt = fitTime(time.Now())
	_, err = db.db.ExecContext(ctx, "INSERT OR REPLACE INTO recoveries (file, ended_at, expected, found, added) VALUES (?, ?, ?, ?, ?)",
		filepath.Base(file), result.EndedAt.UnixMicro(), result.Expected, result.Found, result.Added)
	return result, err
}

// move stores in db every row that can be read of old.
func (r *Recovery) move(ctx context.Context, old *relic, db *database) error {
	known := old.rowids(ctx)
	var batch []Row
	var found []int64
	// Kept apart: an error of the new database says nothing about the old.
	var failed error
	store := func() {
		began := time.Now()
		n, err := db.store(ctx, batch)
		r.Added += n
		batch = batch[:0]
		if err == nil {
			err = yieldTo(ctx, time.Since(began))
		}
		failed = err
	}
	err := old.rows(ctx, old.lastRowid(ctx, known), func(id int64, row Row) error {
		found = append(found, id)
		if batch = append(batch, row); len(batch) == sideRows {
			store()
		}
		if failed != nil {
			return errStop
		}
		return nil
	})
	if failed == nil && err == nil && len(batch) > 0 {
		store()
	}
	// A damaged tree may lead to one page by several ways.
	slices.Sort(found)
	found = slices.Compact(found)
	r.Found = int64(len(found))
	known = append(known, found...)
	slices.Sort(known)
	r.Expected = int64(len(slices.Compact(known)))
	if failed != nil {
		return failed
	}
	return err
}

var errStop = errors.New("stopped")

// enoughRoom keeps the copy of file from filling the disk up.
func enoughRoom(dir, file string, d disk) error {
	need := uint64(recoveryMargin)
	for _, path := range []string{file, file + "-wal"} {
		switch st, err := os.Stat(path); {
		case err == nil:
			need += uint64(st.Size())
		case path == file || !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	free, err := d.free(dir)
	if err != nil {
		return err
	}
	if free < need {
		return fmt.Errorf("the disk has %d MB free, and a copy needs %d MB", free>>20, need>>20)
	}
	return nil
}

// recoverAside recovers, once each, the databases that were set aside. It is
// started with each new session of the writer.
func (l *Ledger) recoverAside(ctx context.Context) {
	dir := filepath.Dir(l.path)
	files := listAside(dir)
	if len(files) == 0 || !l.recovering.TryLock() {
		return
	}
	defer l.recovering.Unlock()
	for _, file := range files {
		if done, err := l.recovered(ctx, file); done || err != nil {
			continue
		}
		r, err := recoverFile(ctx, dir, file, l.t)
		if ctx.Err() != nil {
			return // the next Open begins anew
		}
		if err != nil {
			l.log.Error("ledger.recovery.failed", "path", file, "error", err)
			continue
		}
		l.log.Warn("ledger.recovery.done", "path", file, "expected", r.Expected, "found", r.Found, "added", r.Added)
	}
	l.mu.Lock()
	l.change()
	l.mu.Unlock()
}

func (l *Ledger) recovered(ctx context.Context, file string) (bool, error) {
	db, err := connectDatabase(ctx, l.path, l.t.busy)
	if err != nil {
		return false, err
	}
	defer db.close()
	list, err := readRecoveries(ctx, db.db)
	return slices.ContainsFunc(list, func(r Recovery) bool { return r.File == filepath.Base(file) }), err
}

// readRecoveries returns the recoveries that db knows of; File is a name.
func readRecoveries(ctx context.Context, db *sql.DB) ([]Recovery, error) {
	rows, err := db.QueryContext(ctx, "SELECT file, ended_at, expected, found, added FROM main.recoveries")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Recovery
	for rows.Next() {
		var r Recovery
		var ended int64
		if err := rows.Scan(&r.File, &ended, &r.Expected, &r.Found, &r.Added); err != nil {
			return nil, err
		}
		r.EndedAt = time.UnixMicro(ended).UTC()
		list = append(list, r)
	}
	return list, rows.Err()
}
