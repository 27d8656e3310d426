package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/haltonlabs/halton-meter/internal/filelock"
)

// Sentinels that callers branch on.
var (
	// ErrClosed means that the ledger was closed before the call.
	ErrClosed = errors.New("ledger is closed")
	// ErrFull means that neither journal nor memory had room.
	ErrFull = errors.New("ledger has no room")
	// ErrJournaled means that rows are safe in the journal, but not in the
	// database yet. The next Open stores them.
	ErrJournaled = errors.New("rows are in the journal, not in the database yet")
	// ErrNewerSchema means that a newer release wrote the database.
	ErrNewerSchema = errors.New("the database was written by a newer halton-meter; upgrade this one")
	// ErrOlderSchema means that the database awaits its migration, which is
	// for the Ledger to do: its process may still be of an older release.
	ErrOlderSchema = errors.New("the database was written by an older halton-meter; restart its daemon")
	// ErrInUse means that a Ledger is open on the directory and in the way.
	ErrInUse = errors.New("a daemon has the ledger open")
)

// Config is what a Ledger needs. Only Dir has no default.
type Config struct {
	// Dir is the state directory: db.sqlite and journal/ lie in it.
	Dir string
	// BatchRows is how many rows go into one transaction; zero means 256.
	BatchRows int
	// BatchDelay is how long a row waits for others at most; zero means
	// 250 ms. A row that no other follows waits a tenth of it, or two. Until
	// then the row is safe in the journal, and readers read it there.
	BatchDelay time.Duration
	// MaxPending is how many rows are kept in memory; zero means 4096. Rows
	// beyond it are read back from the journal later. It counts in earnest
	// when the journal fails too: then they have no other place.
	MaxPending int
	// KeepDays is how many days a row is kept; zero means for ever. Older
	// rows are deleted after Open, and then daily.
	KeepDays int
	// Logger gets the ledger's events; nil discards them.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.BatchRows <= 0 {
		c.BatchRows = 256
	}
	if c.BatchDelay <= 0 {
		c.BatchDelay = 250 * time.Millisecond
	}
	if c.MaxPending <= 0 {
		c.MaxPending = 4096
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// tuning is what only tests change.
type tuning struct {
	disk          disk
	segmentBytes  int64
	pieceBytes    int64
	reservePieces int
	// busy is how long SQLite waits for another connection's lock.
	busy time.Duration
	// firstWait and maxWait bound the pause before storage is tried again.
	firstWait, maxWait time.Duration
	// housekeeping is the pause between two looks at the journal.
	housekeeping time.Duration
	// verifyEvery is the pause between two looks at the database's file.
	verifyEvery time.Duration
	// retainEvery is the pause between two deletions of old rows.
	retainEvery time.Duration
}

func defaultTuning() tuning {
	return tuning{
		disk:          realDisk(),
		segmentBytes:  defaultSegmentBytes,
		pieceBytes:    defaultPieceBytes,
		reservePieces: defaultReservePieces,
		busy:          5 * time.Second,
		firstWait:     100 * time.Millisecond,
		maxWait:       5 * time.Second,
		housekeeping:  time.Second,
		verifyEvery:   2 * time.Second,
		retainEvery:   24 * time.Hour,
	}
}

// Ledger is the writing side of the ledger. Its methods may be called from
// any goroutine. One process at a time should write to a directory; that is
// its caller's to see to.
type Ledger struct {
	c    Config
	t    tuning
	log  *slog.Logger
	path string // of the database

	// owner is held by the process that may touch the segments of dead ones.
	owner *filelock.Lock
	old   []string // segments of earlier processes, until they are replayed

	stop context.CancelFunc
	work sync.WaitGroup
	wake chan struct{} // a row, a flush or a repaired journal is there

	// sound is the database that was checked and gave no cause for doubt
	// since; only the writer uses it.
	sound fs.FileInfo

	// recovering is held by the goroutine that reads corrupt databases.
	recovering sync.Mutex

	mu      sync.Mutex
	closed  bool
	journal *journal
	open    map[string]*opening
	queue   []*entry // finished rows for the database, in order
	batch   []*entry // the ones before them, which are being stored
	// unsafe counts what only memory holds: rows and openings.
	unsafe  int
	seq     uint64 // of the last row
	flushes int    // callers that wait for the database
	ready   bool   // the database is open and replay is done
	dbErr   error
	fails   uint64 // failed attempts at the database
	doubt   error  // what verify found, until the writer has seen it
	// voids are what was taken back in another segment than it was opened in.
	voids []voided
	// changed is closed, and replaced, when a waiting Flush should look.
	changed chan struct{}

	lost, unfinished, damaged int64
}

// opening is an exchange that has begun and not finished.
type opening struct {
	Opening
	segment *segment // nil if the journal did not take it
}

// entry is a finished row that is not known to be in the database.
type entry struct {
	seq     uint64
	row     Row
	segment *segment // nil if the journal did not take it
	// opening keeps its record while the row has none of its own.
	opening *opening
}

// Open returns when the journal is ready. The database opens, checks and
// migrates behind it, and then takes what earlier processes left in their
// journals; ctx ends with Open and does not bound that. A journal that cannot
// be written to is not an error either: Storable says it, and the ledger
// keeps trying.
func Open(ctx context.Context, c Config) (*Ledger, error) {
	return open(ctx, c, defaultTuning())
}

func open(ctx context.Context, c Config, t tuning) (*Ledger, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	if c.Dir == "" {
		return nil, errors.New("open ledger: Config.Dir is empty")
	}
	c = c.withDefaults()
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	journalDir := filepath.Join(dir, journalName)
	j, old, err := openJournal(journalDir, t)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	l := &Ledger{
		c: c, t: t, log: c.Logger, path: filepath.Join(dir, databaseName),
		wake:    make(chan struct{}, 1),
		journal: j,
		open:    map[string]*opening{},
		changed: make(chan struct{}),
	}
	if j.err != nil {
		l.log.Error("ledger.journal.failed", "error", j.err)
	}
	l.old = old
	if err := l.own(); err != nil {
		l.log.Error("ledger.journal.shared", "error", err)
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	l.work.Go(func() { l.write(run) })
	l.work.Go(func() { l.keepHouse(run) })
	l.work.Go(func() { l.verify(run) })
	if c.KeepDays > 0 {
		l.work.Go(func() { l.retain(run) })
	}
	return l, nil
}

const journalName = "journal"

// own takes the lock of the process that may touch the segments of dead ones:
// a second writer would take the first one's open exchanges for dead ones.
// Without it the ledger keeps to its own segments.
func (l *Ledger) own() (err error) {
	if l.owner == nil {
		l.owner, err = filelock.Try(ownerLock(filepath.Dir(l.path)))
	}
	return err
}

// Begin records that an exchange is about to be forwarded. It never waits for
// the database. On an error the exchange is not recorded; forward it all the
// same.
func (l *Ledger) Begin(o Opening) error {
	if o.ID == "" {
		return errors.New("begin exchange: it has no id")
	}
	o = fitOpening(o)
	rec, err := encodeOpening(o)
	if err != nil {
		return fmt.Errorf("begin exchange: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("begin exchange: %w", ErrClosed)
	}
	seg, jErr := l.append(rec)
	if seg == nil && l.unsafe >= l.c.MaxPending {
		// Not lost yet: there may be room for its row.
		return fmt.Errorf("begin exchange: %w: %w", ErrFull, jErr)
	}
	if before := l.open[o.ID]; before != nil {
		l.release(before)
	}
	l.open[o.ID] = &opening{Opening: o, segment: seg}
	if seg != nil {
		seg.opens++
	} else {
		l.unsafe++
	}
	return nil
}

// Finish records the row of an exchange, whether Begin saw it or not. When it
// returns nil, the row is in the journal, or in memory while the journal
// fails, and on its way to the database.
func (l *Ledger) Finish(r Row) error {
	if r.ID == "" {
		return errors.New("finish exchange: it has no id")
	}
	r = fitRow(r)
	rec, err := encodeRow(r)
	if err != nil {
		return fmt.Errorf("finish exchange: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("finish exchange: %w", ErrClosed)
	}
	seg, jErr := l.append(rec)
	if seg == nil && l.unsafe >= l.c.MaxPending && l.unsafeOpening(r.ID) == nil {
		l.lost++
		return fmt.Errorf("finish exchange: %w: %w", ErrFull, jErr)
	}
	l.seq++
	e := &entry{seq: l.seq, row: r, segment: seg}
	if o := l.open[r.ID]; o != nil {
		delete(l.open, r.ID)
		if seg == nil && o.segment != nil {
			e.opening = o
		} else {
			l.release(o)
		}
	}
	if seg == nil {
		l.unsafe++
	} else {
		seg.rows++
	}
	l.queue = append(l.queue, e)
	if len(l.queue) > l.c.MaxPending {
		l.evict()
	}
	l.queued()
	return nil
}

func (l *Ledger) unsafeOpening(id string) *opening {
	if o := l.open[id]; o != nil && o.segment == nil {
		return o
	}
	return nil
}

// append writes a record to the journal, and reports it when that first
// fails. The caller holds l.mu.
func (l *Ledger) append(rec []byte) (*segment, error) {
	failing, pieces := l.journal.err != nil, len(l.journal.pieces)
	seg, err := l.journal.append(rec)
	if l.journal.err != nil && !failing {
		l.log.Error("ledger.journal.failed", "error", err)
		l.change()
	}
	if len(l.journal.pieces) < pieces {
		l.log.Warn("ledger.reserve.used", "bytes_left", l.journal.reserveLeft())
	}
	return seg, err
}

// release lets go of the record of o.
func (l *Ledger) release(o *opening) {
	if o.segment != nil {
		o.segment.opens--
	} else {
		l.unsafe--
	}
}

// evict drops from memory the rows that the journal holds; the writer reads
// them back when it has caught up.
func (l *Ledger) evict() {
	kept := l.queue[:0]
	for _, e := range l.queue {
		if e.segment == nil {
			kept = append(kept, e)
			continue
		}
		e.segment.rows--
		if e.segment.behindSince == 0 {
			e.segment.behindSince = e.seq
		}
	}
	clear(l.queue[len(kept):])
	l.queue = kept
}

// queued wakes the writer if it need not know yet that there are rows, or if
// they are a batch by now. A wake-up for each would cost as much as the row.
func (l *Ledger) queued() {
	if n := len(l.queue); n <= 1 || n >= l.c.BatchRows {
		l.signal()
	}
}

func (l *Ledger) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// change lets every waiting Flush look again. The caller holds l.mu.
func (l *Ledger) change() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// firstUnstored is the number of the first row that is not in the database.
func (l *Ledger) firstUnstored() uint64 {
	first := l.seq + 1
	for _, entries := range [][]*entry{l.batch, l.queue} {
		if len(entries) > 0 {
			first = min(first, entries[0].seq)
		}
	}
	for _, s := range l.journal.segments {
		if since := s.since(); since > 0 {
			first = min(first, since)
		}
	}
	return first
}

// Flush returns nil once every row that was finished before the call is in
// the database, and what earlier processes left too. If the database cannot
// take them, the error is ErrJournaled once they are on the journal's disk;
// any other error means that they lie only in memory, or that ctx ended.
func (l *Ledger) Flush(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	target, fails := l.seq, l.fails
	l.flushes++
	defer func() { l.flushes-- }()
	l.signal()
	for {
		if l.ready && l.firstUnstored() > target {
			return nil
		}
		if l.dbErr != nil && l.fails > fails {
			return l.flushJournal()
		}
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
			l.mu.Lock()
		case <-ctx.Done():
			l.mu.Lock()
			return fmt.Errorf("flush ledger: %w", context.Cause(ctx))
		}
	}
}

// flushJournal syncs the journal in place of the database.
func (l *Ledger) flushJournal() error {
	if l.unsafe > 0 || l.journal.err != nil {
		return fmt.Errorf("flush ledger: %d records are in memory only: %w",
			l.unsafe, errors.Join(l.dbErr, l.journal.err))
	}
	if err := l.journal.file.Sync(); err != nil {
		return fmt.Errorf("flush ledger: %w", errors.Join(l.dbErr, err))
	}
	return fmt.Errorf("flush ledger: %w: %w", ErrJournaled, l.dbErr)
}

// Close stores what it can until ctx ends, and releases the directory. After
// it, Begin and Finish fail. The error is nil if every row is in the
// database, and as that of Flush if not; Close has closed in either case.
// What Begin opened and nobody finished is left to the next Open.
func (l *Ledger) Close(ctx context.Context) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()

	err := l.Flush(ctx)
	l.stop()
	l.work.Wait()

	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unsafe > 0 && (l.journal.err == nil || l.journal.retest() == nil) {
		l.saveMemory()
	}
	if err != nil && !errors.Is(err, ErrJournaled) && l.unsafe == 0 && l.journal.err == nil {
		// The time was up while the database worked; the journal has all.
		err = fmt.Errorf("close ledger: %w: %w", ErrJournaled, err)
	}
	closeErr := l.journal.close()
	l.remove(l.journal.takeDone(true))
	if l.owner != nil {
		closeErr = errors.Join(closeErr, l.owner.Unlock())
	}
	if err == nil && closeErr != nil {
		err = fmt.Errorf("close ledger: %w", closeErr)
	}
	return err
}
