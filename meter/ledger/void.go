package ledger

import (
	"errors"
	"fmt"
	"slices"
)

// Void takes back an opening: what began turned out to be no exchange, such as
// a message on a WebSocket that asks for nothing. It makes no row, also after
// a crash. An id that is not open is left alone.
func (l *Ledger) Void(id string) error {
	if id == "" {
		return errors.New("void exchange: it has no id")
	}
	rec, err := encodeJSON(kindVoid, Opening{ID: id})
	if err != nil {
		return fmt.Errorf("void exchange: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("void exchange: %w", ErrClosed)
	}
	o := l.open[id]
	if o == nil {
		return nil
	}
	delete(l.open, id)
	l.release(o)
	if o.segment == nil {
		return nil // nothing was written that a crash could leave
	}
	seg, err := l.append(rec)
	if err != nil {
		return fmt.Errorf("void exchange: %w", err)
	}
	if seg != o.segment {
		seg.opens++
		l.voids = append(l.voids, voided{opening: o.segment, by: seg})
	}
	return nil
}

// voided says that the segment by has to outlive another one, because it takes
// back an opening in there.
type voided struct{ opening, by *segment }

// releaseVoids lets go of the segments whose openings are gone from the disk.
// The caller holds l.mu.
func (l *Ledger) releaseVoids() {
	l.voids = slices.DeleteFunc(l.voids, func(v voided) bool {
		gone := !slices.Contains(l.journal.segments, v.opening)
		if gone {
			v.by.opens--
		}
		return gone
	})
}
