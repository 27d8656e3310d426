package ledger

import (
	"context"
	"time"
)

// carryAfter is how many segments may follow one that only openings keep,
// before those are copied behind the newest and it is removed: one socket
// that stays open for days must not hold a segment, let alone many.
const carryAfter = 4

// keepHouse looks after the journal: it tries a failed one again, replaces
// one that was deleted, makes the reserve anew and carries old openings on.
func (l *Ledger) keepHouse(ctx context.Context) {
	tick := time.NewTicker(l.t.housekeeping)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.tidy()
		l.syncJournal()
	}
}

// syncJournal brings the journal to the disk's platter while the database,
// which syncs each batch, does not take rows. Beside the path of the traffic,
// and not under its lock: one fsync takes milliseconds, and may take a second.
func (l *Ledger) syncJournal() {
	l.mu.Lock()
	sizes := map[*segment]int64{}
	for _, s := range l.journal.segments {
		if l.dbErr != nil && s.synced < s.size && !s.done() {
			sizes[s] = s.size
		}
	}
	l.mu.Unlock()
	for s, size := range sizes {
		if err := syncFile(s.path); err != nil {
			l.log.Warn("ledger.journal.not_synced", "path", s.path, "error", err)
			continue
		}
		l.mu.Lock()
		s.synced = size
		l.mu.Unlock()
	}
}

func (l *Ledger) tidy() {
	l.mu.Lock()
	j := l.journal
	if j.err == nil && j.vanished() {
		l.log.Error("ledger.journal.deleted", "path", j.dir)
		l.disown()
		j.pieces = nil
		_ = j.retest() // j.err keeps it
	} else if j.err != nil && j.retest() == nil {
		l.log.Info("ledger.journal.recovered")
	}
	if j.err == nil {
		j.leaveReserve()
		l.saveMemory()
		l.carry()
	}
	if j.err == nil && !j.inReserve() {
		j.makeReserve()
	}
	done := j.takeDone(false)
	if l.unsafe == 0 || j.err == nil {
		l.change()
	}
	l.mu.Unlock()
	l.remove(done)
}

// disown forgets the segments, whose files are gone.
func (l *Ledger) disown() {
	for _, entries := range [][]*entry{l.batch, l.queue} {
		for _, e := range entries {
			if e.segment != nil {
				e.segment.rows--
				e.segment = nil
				l.unsafe++
			}
			if e.opening != nil {
				l.release(e.opening)
				e.opening = nil
			}
		}
	}
	for _, o := range l.open {
		if o.segment != nil {
			o.segment.opens--
			o.segment = nil
			l.unsafe++
		}
	}
	for _, s := range l.journal.segments {
		if s.since() > 0 {
			s.behindSince, s.catchingUp = 0, 0
			l.log.Error("ledger.journal.rows_lost", "path", s.path)
		}
	}
}

// saveMemory brings into the journal what only memory holds.
func (l *Ledger) saveMemory() {
	if l.unsafe == 0 {
		return
	}
	for _, o := range l.open {
		if o.segment == nil {
			if o.segment = l.save(encodeOpening(o.Opening)); o.segment != nil {
				o.segment.opens++
				l.unsafe--
			}
		}
	}
	for _, entries := range [][]*entry{l.batch, l.queue} {
		for _, e := range entries {
			if e.segment != nil {
				continue
			}
			if e.segment = l.save(encodeRow(e.row)); e.segment == nil {
				continue
			}
			e.segment.rows++
			l.unsafe--
			if e.opening != nil {
				l.release(e.opening)
				e.opening = nil
			}
		}
	}
}

// save appends a record to the journal, unless it fails by now: then another
// try would be in vain.
func (l *Ledger) save(rec []byte, err error) *segment {
	if err != nil || l.journal.err != nil {
		return nil
	}
	seg, err := l.append(rec)
	if err != nil || l.journal.err != nil {
		return nil
	}
	return seg
}

// carry copies the openings of long exchanges behind the newest records.
func (l *Ledger) carry() {
	newest := l.journal.active().seq
	for _, o := range l.open {
		s := o.segment
		if s == nil || s.seq+carryAfter > newest || s.rows > 0 || s.since() > 0 {
			continue
		}
		rec, err := encodeOpening(o.Opening)
		if err != nil {
			continue
		}
		seg, err := l.append(rec)
		if err != nil {
			return
		}
		s.opens--
		o.segment = seg
		seg.opens++
	}
}
