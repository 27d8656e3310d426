package ledger

import (
	"context"
	"fmt"
	"time"
)

// sideRows is how many rows a transaction beside the writer changes: some
// milliseconds of work, which is how long the writer may have to wait.
const sideRows = 200

// retryRetention is how long a failed retention waits for its next attempt.
const retryRetention = time.Hour

// retain deletes rows that are older than Config.KeepDays: once the database
// is ready, and then daily.
func (l *Ledger) retain(ctx context.Context) {
	for l.awaitReady(ctx) == nil {
		before := time.Now().AddDate(0, 0, -l.c.KeepDays)
		wait := l.t.retainEvery
		// Readers and the next replay would take a deleted row that is still
		// in the journal for one that the database lacks.
		l.sweep(0)
		n, err := deleteRows(ctx, l.path, before, l.t.busy)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			l.log.Warn("ledger.retention.failed", "error", err)
			wait = min(wait, retryRetention)
		}
		if n > 0 {
			l.log.Info("ledger.retention.deleted", "rows", n, "before", before.UTC())
		}
		if sleep(ctx, wait) != nil {
			return
		}
	}
}

// awaitReady returns when the database has been opened, or ctx has ended.
func (l *Ledger) awaitReady(ctx context.Context) error {
	l.mu.Lock()
	for !l.ready {
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		l.mu.Lock()
	}
	l.mu.Unlock()
	return nil
}

// deleteRows deletes the rows from before the given time, over a connection
// of its own.
func deleteRows(ctx context.Context, path string, before time.Time, busy time.Duration) (deleted int64, err error) {
	steps, err := migrations()
	if err != nil {
		return 0, err
	}
	db, err := attachDatabase(ctx, path, steps, busy)
	if err != nil {
		return 0, err
	}
	defer db.close()
	for {
		began := time.Now()
		res, err := db.db.ExecContext(ctx, `DELETE FROM requests WHERE rowid IN
			(SELECT rowid FROM requests WHERE requested_at < ? ORDER BY requested_at LIMIT ?)`, before.UnixMicro(), sideRows)
		if err != nil {
			return deleted, fmt.Errorf("delete old rows: %w", err)
		}
		n, err := res.RowsAffected()
		if err != nil {
			return deleted, fmt.Errorf("delete old rows: %w", err)
		}
		deleted += n
		if n < sideRows {
			return deleted, nil
		}
		if err := yieldTo(ctx, time.Since(began)); err != nil {
			return deleted, err
		}
	}
}

// yieldTo leaves the database to its writer for four times as long as it was
// taken from it: SQLite's busy handler polls, and would find it always locked.
func yieldTo(ctx context.Context, took time.Duration) error {
	return sleep(ctx, min(4*took, time.Second))
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
