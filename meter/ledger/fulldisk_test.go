package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk is a disk with room for so many bytes of journal. It gives none
// while it is broken.
type smallDisk struct {
	mu     sync.Mutex
	room   int64
	size   map[string]int64 // what each file has allocated
	broken error
}

type smallFile struct {
	journalFile
	disk *smallDisk
	path string
}

func (d *smallDisk) disk() disk {
	real := realDisk()
	return disk{
		create: func(path string) (journalFile, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.broken != nil {
				return nil, d.broken
			}
			f, err := real.create(path)
			return &smallFile{f, d, path}, err
		},
		open: func(path string) (journalFile, error) {
			f, err := real.open(path)
			return &smallFile{f, d, path}, err
		},
		allocate: func(path string, size int64) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			if size > d.room {
				return unix.ENOSPC
			}
			d.room -= size
			d.size[path] = size
			return real.allocate(path, size)
		},
		rename: func(from, to string) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			if err := real.rename(from, to); err != nil {
				return err
			}
			d.size[to] = d.size[from]
			delete(d.size, from)
			return nil
		},
		remove: func(path string) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.room += d.size[path]
			delete(d.size, path)
			return real.remove(path)
		},
		free: func(string) (uint64, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			return uint64(max(d.room, 0)), nil
		},
	}
}

func (d *smallDisk) grow(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room += n
}

func (d *smallDisk) breakDown(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = err
}

func (f *smallFile) WriteAt(p []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.broken != nil {
		return 0, f.disk.broken
	}
	// A full disk takes a part of the last write.
	n, full := int64(len(p)), error(nil)
	if more := off + n - f.disk.size[f.path]; more > f.disk.room {
		n, full = n-(more-max(f.disk.room, 0)), unix.ENOSPC
	}
	done, err := f.journalFile.WriteAt(p[:n], off)
	if more := off + int64(done) - f.disk.size[f.path]; more > 0 {
		f.disk.room -= more
		f.disk.size[f.path] += more
	}
	return done, errors.Join(err, full)
}

func (f *smallFile) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.disk.room += f.disk.size[f.path] - size
	f.disk.size[f.path] = size
	return f.journalFile.Truncate(size)
}

// TestFullDisk lets the journal's disk fill up while the database is locked:
// the reserve goes first, then memory, then Storable tells; and all of it
// comes back.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	d := &smallDisk{room: 16 << 10, size: map[string]int64{}}
	tune := quick()
	tune.disk, tune.segmentBytes, tune.pieceBytes, tune.reservePieces = d.disk(), 4<<10, 2<<10, 3
	const memory = 40
	l := mustOpen(t, Config{Dir: dir, MaxPending: memory}, tune)
	must(t, l.Flush(t.Context()))
	if l.Status().ReserveLeft != 6<<10 {
		t.Fatal("no reserve was made")
	}
	other, err := sql.Open("sqlite", filepath.Join(dir, databaseName)+"?_txlock=immediate")
	must(t, err)
	defer other.Close()
	tx, err := other.Begin()
	must(t, err)

	var stages []string
	stage := func(s string) {
		if len(stages) == 0 || stages[len(stages)-1] != s {
			stages = append(stages, s)
		}
	}
	n := 0
	for {
		// Before housekeeping notices anything, or after: both must do.
		err := l.Finish(row(fmt.Sprintf("%04d", n), n))
		s := l.Status()
		if err != nil {
			if !errors.Is(err, ErrFull) || !errors.Is(err, unix.ENOSPC) {
				t.Fatalf("Finish = %v, want ErrFull and ENOSPC", err)
			}
			stage("refused")
			break
		}
		n++
		switch storable := l.Storable(); {
		case s.JournalErr == nil && !s.InReserve:
			stage("journal")
		case s.JournalErr == nil:
			stage("reserve")
		case storable == nil:
			stage("memory")
		case errors.Is(storable, unix.ENOSPC):
			stage("not storable")
		default:
			t.Fatalf("Storable = %v, want ENOSPC in it", storable)
		}
	}
	if got, want := strings.Join(stages, ", "), "journal, reserve, memory, not storable, refused"; got != want {
		t.Errorf("stages %s; want %s", got, want)
	}
	if err := l.Flush(t.Context()); err == nil || errors.Is(err, ErrJournaled) {
		t.Errorf("Flush = %v, want an error that is not ErrJournaled", err)
	}
	if err := l.Begin(Opening{ID: row("0", n).ID, RequestedAt: start}); !errors.Is(err, ErrFull) {
		t.Errorf("Begin = %v, want ErrFull", err)
	}
	if s := l.Status(); s.InMemory != memory || s.Lost != 1 { // an exchange, not a record
		t.Errorf("in memory %d, lost %d; want %d, 1", s.InMemory, s.Lost, memory)
	}

	d.grow(1 << 20)
	s := until(t, l, func(s Status) bool {
		return s.JournalErr == nil && s.InMemory == 0 && !s.InReserve && s.ReserveLeft == 6<<10
	})
	if err := l.Storable(); err != nil {
		t.Errorf("Storable after recovery = %v, status %+v", err, s)
	}
	crash(l) // the rows from memory are in the journal now
	must(t, tx.Rollback())
	l = mustOpen(t, Config{Dir: dir}, tune)
	must(t, l.Close(t.Context()))
	if got := len(readAll(t, dir, Query{})); got != n {
		t.Errorf("%d rows, want %d", got, n)
	}
}

func TestFailingJournalStillReachesTheDatabase(t *testing.T) {
	dir := t.TempDir()
	d := &smallDisk{size: map[string]int64{}}
	tune := quick()
	tune.disk = d.disk()
	l := mustOpen(t, Config{Dir: dir}, tune)
	must(t, l.Begin(Opening{ID: "a", RequestedAt: start}))
	must(t, l.Finish(row("a", 0)))
	must(t, l.Flush(t.Context()))
	if err := l.Storable(); err != nil {
		t.Errorf("Storable = %v, want nil: the database takes rows", err)
	}
	if s := l.Status(); s.JournalErr == nil || s.InMemory != 0 {
		t.Errorf("status %+v, want a journal error and nothing in memory", s)
	}
	must(t, l.Close(context.Background()))
	if got := len(readAll(t, dir, Query{})); got != 1 {
		t.Errorf("%d rows, want 1", got)
	}
}

// A state directory that turns read-only: nothing can be written, then all of
// it is.
func TestReadOnlyDisk(t *testing.T) {
	dir := t.TempDir()
	d := &smallDisk{room: 1 << 20, size: map[string]int64{}}
	tune := quick()
	tune.disk = d.disk()
	l := mustOpen(t, Config{Dir: dir, MaxPending: 8}, tune)
	must(t, l.Flush(t.Context()))
	other, err := sql.Open("sqlite", filepath.Join(dir, databaseName)+"?_txlock=immediate")
	must(t, err)
	defer other.Close()
	tx, err := other.Begin() // so that the database takes no rows either
	must(t, err)
	d.breakDown(unix.EROFS)
	must(t, l.Begin(Opening{ID: "open", RequestedAt: start}))
	n := 0
	for l.Storable() == nil {
		must(t, l.Finish(row(fmt.Sprint(n), n)))
		n++
	}
	if err := l.Storable(); !errors.Is(err, unix.EROFS) || !errors.Is(err, ErrFull) {
		t.Errorf("Storable = %v, want EROFS", err)
	}
	d.breakDown(nil)
	until(t, l, func(s Status) bool { return s.JournalErr == nil && s.InMemory == 0 })
	must(t, l.Storable())
	crash(l)
	must(t, tx.Rollback())
	l = mustOpen(t, Config{Dir: dir}, quick())
	must(t, l.Close(t.Context()))
	if got := len(readAll(t, dir, Query{})); got != n+1 {
		t.Errorf("%d rows, want %d", got, n+1)
	}
}
