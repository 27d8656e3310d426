package ledger

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrations returns the steps of the schema, oldest first. The first n of
// them make the schema of user_version n; a released step never changes.
func migrations() ([]string, error) {
	entries, err := fs.ReadDir(migrationFiles, "migrations")
	if err != nil {
		return nil, err
	}
	var steps []string
	for _, e := range entries {
		step, err := migrationFiles.ReadFile(path.Join("migrations", e.Name()))
		if err != nil {
			return nil, err
		}
		steps = append(steps, string(step))
	}
	return steps, nil
}

// ErrForeign means that db.sqlite belongs to another program.
var ErrForeign = errors.New("db.sqlite was not written by halton-meter; move it away")

// migrate brings the schema of db to the last step. Before it changes a
// database that holds rows, it copies it to the file backup(version); a nil
// backup is for a database that is a copy already.
func migrate(ctx context.Context, db *sql.DB, steps []string, backup func(version int) string) error {
	version, err := schemaVersion(ctx, db)
	if err != nil {
		return err
	}
	if version > len(steps) {
		return fmt.Errorf("migrate database from schema %d, with %d known: %w", version, len(steps), ErrNewerSchema)
	}
	if backup != nil && version > 0 && version < len(steps) {
		if err := vacuumInto(ctx, db, backup(version), nil); err != nil {
			return fmt.Errorf("back up database before its migration: %w", err)
		}
	}
	for ; version < len(steps); version++ {
		if err := migrateStep(ctx, db, version, steps[version]); err != nil {
			return fmt.Errorf("migrate database to schema %d: %w", version+1, err)
		}
	}
	return nil
}

func migrateStep(ctx context.Context, db *sql.DB, from int, step string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	// Asked again under the write lock: another process may have been here.
	var version int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version != from {
		return nil
	}
	if _, err := tx.ExecContext(ctx, step); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", from+1)); err != nil {
		return err
	}
	return tx.Commit()
}

// schemaVersion returns the number of steps that db has seen, 0 for an empty
// file.
func schemaVersion(ctx context.Context, db *sql.DB) (version int, err error) {
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return 0, fmt.Errorf("read schema version: %w", err)
	}
	var tables, application int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return 0, fmt.Errorf("read schema: %w", err)
	}
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&application); err != nil {
		return 0, fmt.Errorf("read application id: %w", err)
	}
	if (tables > 0 || version > 0) && application != applicationID {
		return 0, fmt.Errorf("open database: %w", ErrForeign)
	}
	return version, nil
}

const applicationID = 0x484d7472 // as in migrations/001_ledger.sql

func stamp(t time.Time) string { return t.UTC().Format("20060102T150405.000000Z") }
