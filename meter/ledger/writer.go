package ledger

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/haltonlabs/halton-meter/internal/filelock"
)

// write is the one goroutine that writes to the database. It opens the
// database as often as it must.
func (l *Ledger) write(ctx context.Context) {
	wait := l.t.firstWait
	for ctx.Err() == nil {
		stored, err := l.writeSession(ctx)
		if ctx.Err() != nil {
			return
		}
		if stored {
			wait = l.t.firstWait
		}
		if errors.Is(err, errDoubt) {
			l.sound = nil
			l.failed(err)
			continue
		}
		if isCorrupt(err) {
			l.sound = nil
			// One report at run time is only a reason to look: the next
			// session begins with a check. What fails after a good check, or
			// fails the check, is set aside.
			if errors.Is(err, errCorrupt) || !stored {
				if err = l.replace(err); err == nil {
					continue
				}
			}
		}
		l.hold(ctx, &wait, err)
	}
}

// heldPauses is how many pauses the database is held back where the disk has
// no room; then it is tried all the same, since statfs(2) knows no quota.
const heldPauses = 6

// roomForBatch must be free on the disk before the database is tried again.
const roomForBatch = 256 << 10

// hold notes that the database did not take rows, and waits before the next
// attempt. An attempt on a full disk would only make the write-ahead log take
// what others need, so there are few.
func (l *Ledger) hold(ctx context.Context, wait *time.Duration, err error) {
	for range heldPauses {
		l.failed(err)
		l.pause(ctx, wait)
		free, statErr := l.t.disk.free(filepath.Dir(l.path))
		if ctx.Err() != nil || statErr != nil || free >= roomForBatch {
			return
		}
	}
}

// replace sets the corrupt database aside; the next session makes a new one.
func (l *Ledger) replace(cause error) error {
	aside, err := setAside(l.path)
	if err != nil {
		return errors.Join(cause, err)
	}
	l.log.Error("ledger.database.set_aside", "error", cause, "path", aside)
	return nil
}

// failed notes that the database did not take rows.
func (l *Ledger) failed(err error) {
	l.mu.Lock()
	first := l.dbErr == nil
	l.dbErr = err
	l.fails++
	l.change()
	l.mu.Unlock()
	if first {
		l.log.Error("ledger.database.failed", "error", err)
	}
}

// worked notes that the database is fine.
func (l *Ledger) worked() {
	l.mu.Lock()
	recovered := l.dbErr != nil
	l.ready, l.dbErr = true, nil
	l.change()
	l.mu.Unlock()
	if recovered {
		l.log.Info("ledger.database.recovered")
	}
}

// pause waits before the next attempt, and longer after each.
func (l *Ledger) pause(ctx context.Context, wait *time.Duration) {
	timer := time.NewTimer(*wait)
	defer timer.Stop()
	*wait = min(2**wait, l.t.maxWait)
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-l.wake:
			// Rows do not shorten the pause; somebody who waits does.
			l.mu.Lock()
			flushing := l.flushes > 0
			l.mu.Unlock()
			if flushing {
				timer.Reset(min(*wait, l.t.firstWait))
			}
		}
	}
}

// writeSession opens the database and stores rows until it fails for good.
// stored reports whether it stored any.
func (l *Ledger) writeSession(ctx context.Context) (stored bool, err error) {
	steps, err := migrations()
	if err != nil {
		return false, err
	}
	db, err := openDatabase(ctx, l.path, steps, l.t.busy, l.sound)
	if err != nil {
		return false, err
	}
	defer db.close()
	l.sound = db.file
	switch err := l.own(); {
	case err == nil:
		if err := l.replay(ctx, db); err != nil {
			return false, err
		}
	case errors.Is(err, filelock.ErrHeld):
		l.old = nil // what others left is another process's to store
	}
	l.worked()
	l.work.Go(func() { l.recoverAside(ctx) })
	wait := l.t.firstWait
	for {
		if err := l.next(ctx); err != nil {
			return stored, err
		}
		if db.moved() {
			return stored, errMoved
		}
		err := l.storeBatch(ctx, db)
		if err == nil {
			err = l.catchUp(ctx, db)
		}
		switch {
		case err == nil:
			stored, wait = true, l.t.firstWait
			l.worked()
			// An idle ledger should leave next to nothing to read for the
			// replay and for readers.
			l.sweep(l.journal.segmentBytes / 16)
		case isPassing(err):
			l.hold(ctx, &wait, err)
		default:
			return stored, err
		}
	}
}

// next waits until there is a batch to store: BatchRows rows, or some, and
// BatchDelay or a tenth of it without another is over. Finish does not wake it
// for each row: it looks itself when a tenth is over.
func (l *Ledger) next(ctx context.Context) error {
	var full, idle <-chan time.Time
	seen, looked := 0, false
	for {
		l.mu.Lock()
		rows, hurry, doubt := len(l.queue), l.flushes > 0, l.doubt
		l.doubt = nil
		behind := rows == 0 && l.firstUnstored() <= l.seq
		l.mu.Unlock()
		if doubt != nil {
			return doubt
		}
		if behind || rows >= l.c.BatchRows || rows > 0 && (hurry || looked && rows == seen) {
			return nil
		}
		if rows > 0 && full == nil {
			full = time.After(l.c.BatchDelay)
		}
		if rows > 0 && (idle == nil || looked) {
			idle, seen, looked = time.After(l.c.BatchDelay/10), rows, false
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.wake:
		case <-full:
			return nil
		case <-idle:
			looked = true
		}
	}
}

// storeBatch stores the first rows of the queue.
func (l *Ledger) storeBatch(ctx context.Context, db *database) error {
	l.mu.Lock()
	n := min(len(l.queue), l.c.BatchRows)
	l.batch = append([]*entry(nil), l.queue[:n]...)
	l.queue = l.queue[n:]
	batch := l.batch
	l.mu.Unlock()
	if n == 0 {
		return nil
	}
	rows := make([]Row, n)
	for i, e := range batch {
		rows[i] = e.row
	}
	_, err := l.storeRows(ctx, db, rows)

	l.mu.Lock()
	defer l.mu.Unlock()
	l.batch = nil
	if err != nil {
		l.queue = append(batch, l.queue...)
		return err
	}
	for _, e := range batch {
		l.settle(e)
	}
	return nil
}

// settle lets go of what kept e safe until it was stored.
func (l *Ledger) settle(e *entry) {
	if e.segment != nil {
		e.segment.rows--
	} else {
		l.unsafe--
	}
	if e.opening != nil {
		l.release(e.opening)
	}
}

// storeRows stores rows in one transaction. If the database refuses one of
// them for what it is, it costs only that one.
func (l *Ledger) storeRows(ctx context.Context, db *database, rows []Row) (added int64, err error) {
	added, err = db.store(ctx, rows)
	if err == nil || !isRefusal(err) {
		return added, err
	}
	for _, r := range rows {
		n, err := db.store(ctx, []Row{r})
		switch {
		case err == nil:
			added += n
		case isRefusal(err):
			l.log.Error("ledger.row.refused", "id", r.ID, "error", err)
			l.mu.Lock()
			l.lost++
			l.mu.Unlock()
		default:
			return added, err
		}
	}
	return added, nil
}

// catchUp stores the rows that were dropped from memory, segment by segment.
func (l *Ledger) catchUp(ctx context.Context, db *database) error {
	for {
		l.mu.Lock()
		var behind *segment
		var size int64
		if len(l.queue) == 0 {
			behind, size = l.takeBehind()
		}
		l.mu.Unlock()
		if behind == nil {
			return nil
		}
		err := l.restore(ctx, db, behind.path, size, nil)
		l.mu.Lock()
		switch {
		case errors.Is(err, errUnreadable):
			l.journal.forget(behind)
			err = nil
		case err != nil:
			behind.behindSince = behind.catchingUp
		}
		behind.catchingUp = 0
		l.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// takeBehind returns a segment whose rows must be read back, and how much of
// it there is to read: all that it will ever hold, if it can be sealed.
func (l *Ledger) takeBehind() (*segment, int64) {
	for _, s := range l.journal.segments {
		if s.behindSince == 0 {
			continue
		}
		if s == l.journal.active() && l.journal.err == nil {
			// If there cannot be another, what is written to this one from
			// now on is read another time.
			_ = l.journal.rotate(s.reserved)
		}
		s.catchingUp, s.behindSince = s.behindSince, 0
		return s, s.size
	}
	return nil, 0
}

// sweep removes the segments that nothing needs any more, the active one too
// if it is larger than keep.
func (l *Ledger) sweep(keep int64) {
	l.mu.Lock()
	j := l.journal
	if j.err == nil && j.active().size > keep && j.active().done() {
		if j.inReserve() && !j.roomFor(2*j.pieceBytes) || j.rotate(j.inReserve()) != nil {
			j.err = j.reuse()
		}
	}
	done := j.takeDone(false)
	l.releaseVoids()
	l.mu.Unlock()
	l.remove(done)
}

func (l *Ledger) remove(segments []*segment) {
	for _, s := range segments {
		if err := l.t.disk.remove(s.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			l.log.Warn("ledger.segment.not_removed", "path", s.path, "error", err)
		}
	}
}
