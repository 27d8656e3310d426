package ledger

import (
	"errors"
	"fmt"
	"path/filepath"
)

// Status is the state of a Ledger at one moment.
type Status struct {
	// Ready reports whether the database is open and what earlier processes
	// left in the journal is in it.
	Ready bool
	// DatabaseErr says why the database does not take rows now.
	DatabaseErr error
	// JournalErr says why the journal does not take records now.
	JournalErr error
	// Open is how many exchanges have begun and not finished.
	Open int
	// Pending is how many finished rows wait in memory for the database.
	// There may be more in the journal if Behind.
	Pending int
	Behind  bool
	// InMemory is how many records are neither in the database nor in the
	// journal: they would not survive the process.
	InMemory int
	// JournalBytes is the size of this process's part of the journal.
	JournalBytes int64
	// InReserve reports that the disk is full and the journal writes into
	// the room that it took before.
	InReserve bool
	// ReserveLeft is how many bytes of that are left. It is 0 too while the
	// disk has no room to take.
	ReserveLeft int64
	// Lost counts exchanges since Open that could not be kept.
	Lost int64
	// Unfinished counts exchanges of an earlier process that the replay
	// stored with the status "unknown".
	Unfinished int64
	// Damaged counts stretches of the journal that could not be read.
	Damaged int64
	// SetAside names the corrupt databases that lie beside this one.
	SetAside []string
}

// Status returns the ledger's state.
func (l *Ledger) Status() Status {
	aside := listAside(filepath.Dir(l.path))
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Status{
		Ready:        l.ready,
		DatabaseErr:  l.dbErr,
		JournalErr:   l.journal.err,
		Open:         len(l.open),
		Pending:      len(l.batch) + len(l.queue),
		InMemory:     l.unsafe,
		JournalBytes: l.journal.bytes(),
		InReserve:    l.journal.inReserve(),
		ReserveLeft:  l.journal.reserveLeft(),
		Lost:         l.lost,
		Unfinished:   l.unfinished,
		Damaged:      l.damaged,
		SetAside:     aside,
	}
	for _, seg := range l.journal.segments {
		s.Behind = s.Behind || seg.since() > 0
	}
	return s
}

// Storable returns nil while a row that is finished now finds a place: in the
// journal, or in memory on its way to the database. It stops returning nil
// when neither drains and a quarter of the memory is left, for the exchanges
// in flight. The ledger tries the failed storage again by itself.
func (l *Ledger) Storable() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return ErrClosed
	case l.journal.err == nil, l.unsafe < l.c.MaxPending-l.c.MaxPending/4:
		return nil
	}
	return fmt.Errorf("%w: %d records in memory only: %w", ErrFull, l.unsafe, errors.Join(l.journal.err, l.dbErr))
}
