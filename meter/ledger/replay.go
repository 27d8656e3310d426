package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
)

// replayRows is how many rows the replay puts into one transaction.
const replayRows = 512

// replay stores what earlier processes left in the journal: the rows of the
// exchanges that finished, and a row of status unknown for each that did not.
// It does nothing when it is called again after a success.
func (l *Ledger) replay(ctx context.Context, db *database) error {
	openings := map[string]Opening{}
	var stored []string
	for _, path := range l.old {
		switch err := l.restore(ctx, db, path, maxSegment, openings); {
		case err == nil:
			stored = append(stored, path)
		case !errors.Is(err, errUnreadable):
			return err
		}
	}
	unknown := make([]Row, 0, len(openings))
	for _, o := range slices.SortedFunc(maps.Values(openings), func(a, b Opening) int {
		return cmp.Or(a.RequestedAt.Compare(b.RequestedAt), cmp.Compare(a.ID, b.ID))
	}) {
		unknown = append(unknown, unknownRow(o))
	}
	for rows := range slices.Chunk(unknown, replayRows) {
		added, err := l.storeRows(ctx, db, rows)
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.unfinished += added
		l.mu.Unlock()
	}
	for _, path := range stored {
		if err := l.t.disk.remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.log.Warn("ledger.segment.not_removed", "path", path, "error", err)
		}
	}
	if len(l.old) > 0 {
		l.log.Info("ledger.journal.replayed", "segments", len(l.old), "unfinished", len(unknown))
	}
	l.old = nil
	return nil
}

// errUnreadable means that the file system did not give a segment back. Its
// file stays, and the rest goes on.
var errUnreadable = errors.New("segment is unreadable")

// restore stores the rows in the first size bytes of the segment at path. It
// collects in openings the exchanges that are only opened so far; nil if
// nobody asks.
func (l *Ledger) restore(ctx context.Context, db *database, path string, size int64, openings map[string]Opening) error {
	var rows []Row
	undecoded := 0
	damaged, err := readSegmentTo(path, size, func(k kind, payload []byte) {
		switch k {
		case kindRow:
			r, err := decodeRow(payload)
			if err != nil {
				undecoded++
				return
			}
			rows = append(rows, r)
			delete(openings, r.ID)
		case kindOpening:
			o, err := decodeOpening(payload)
			if err != nil {
				undecoded++
				return
			}
			if openings != nil {
				openings[o.ID] = o
			}
		case kindVoid:
			if o, err := decodeOpening(payload); err == nil {
				delete(openings, o.ID)
			} else {
				undecoded++
			}
		}
	})
	if errors.Is(err, os.ErrNotExist) {
		return nil // another process stored and removed it
	}
	if err != nil {
		l.log.Error("ledger.segment.unreadable", "path", path, "error", err)
		l.mu.Lock()
		l.damaged++
		l.mu.Unlock()
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if damaged+undecoded > 0 {
		l.log.Warn("ledger.journal.damaged", "path", path, "stretches", damaged, "undecoded", undecoded)
		l.mu.Lock()
		l.damaged += int64(damaged + undecoded)
		l.mu.Unlock()
	}
	for chunk := range slices.Chunk(rows, replayRows) {
		if _, err := l.storeRows(ctx, db, chunk); err != nil {
			return err
		}
	}
	return nil
}

// unknownRow is the row of an exchange whose process died before its end.
func unknownRow(o Opening) Row {
	class, reason := statusUnknown, "unfinished"
	return Row{
		ID: o.ID, RequestedAt: o.RequestedAt, Project: o.Project, ProjectSource: o.ProjectSource,
		Provider: o.Provider, Host: o.Host, Path: o.Path, Mode: "standard", Kind: o.Kind, Client: o.Client,
		Status: statusUnknown, ErrorClass: &class, CostReason: &reason,
	}
}
