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
	"strings"
)

// Backup writes every row of the ledger in dir into a new database at path:
// also beside a daemon, and with the rows that are still in the journal. The
// file appears whole or not at all; the error is fs.ErrExist if there is one
// already, unless replace.
func Backup(ctx context.Context, dir, path string, replace bool) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	if _, err := os.Lstat(path); err == nil && !replace {
		return fmt.Errorf("back up to %s: %w", path, fs.ErrExist)
	}
	r := &Reader{dir: dir}
	v, err := r.view(ctx)
	if err != nil {
		return err
	}
	missing := func(tmp string) error {
		rows, err := v.rows(ctx, "SELECT "+strings.Join(columns, ", ")+` FROM temp.journaled j
			WHERE NOT EXISTS (SELECT 1 FROM main.requests r WHERE r.id = j.id)`)
		if err != nil || len(rows) == 0 {
			return err
		}
		return addRows(ctx, tmp, rows)
	}
	err = vacuumInto(ctx, v.db, path, missing)
	if err := errors.Join(err, v.close()); err != nil {
		return fmt.Errorf("back up to %s: %w", path, err)
	}
	return nil
}

// addRows stores rows in the database at path, which nobody else has.
func addRows(ctx context.Context, path string, rows []Row) error {
	steps, err := migrations()
	if err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dsn(path, url.Values{"mode": {"rw"}}, "trusted_schema(0)"))
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	d := &database{db: db, path: path}
	if err = migrate(ctx, db, steps, nil); err == nil {
		err = d.prepare(ctx)
	}
	if err == nil {
		_, err = d.store(ctx, rows)
	}
	return errors.Join(err, d.close())
}

// vacuumInto copies db whole into a file at dst, with what finish adds to it.
// Copying the file itself would miss what is still in the write-ahead log.
func vacuumInto(ctx context.Context, db *sql.DB, dst string, finish func(tmp string) error) error {
	// VACUUM INTO accepts an empty file, and keeps its mode of 0600.
	f, err := os.CreateTemp(filepath.Dir(dst), ".backup-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := db.ExecContext(ctx, "VACUUM main INTO ?", f.Name()); err != nil {
		return err
	}
	if finish != nil {
		if err := finish(f.Name()); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), dst); err != nil {
		return err
	}
	return syncFile(filepath.Dir(dst))
}

// syncFile syncs a file or directory that is there.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
