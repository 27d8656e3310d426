package ledger

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// segmentExt carries the version of the format: a release with another
	// one leaves these alone, and finds them again after a downgrade.
	segmentExt  = ".j1"
	reserveName = "reserve"

	defaultSegmentBytes = 1 << 20
	defaultReserveBytes = 2 << 20
)

// disk is what the journal needs of a file system. Tests fill it up.
type disk struct {
	// create makes the file at path, which must not exist, for appending.
	create func(path string) (appendFile, error)
	remove func(path string) error
	// free returns how many bytes an ordinary user can still write.
	free func(dir string) (uint64, error)
}

// appendFile is the part of *os.File that the journal uses.
type appendFile interface {
	io.WriteCloser
	Truncate(size int64) error
	Sync() error
	Stat() (fs.FileInfo, error)
}

func realDisk() disk {
	return disk{
		create: func(path string) (appendFile, error) {
			return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
		},
		remove: os.Remove,
		free: func(dir string) (uint64, error) {
			var st unix.Statfs_t
			if err := unix.Statfs(dir, &st); err != nil {
				return 0, err
			}
			return st.Bavail * uint64(st.Bsize), nil
		},
	}
}

// segment is one file of the journal, and what keeps it from being removed.
type segment struct {
	seq  uint64
	path string
	size int64
	// synced is how much of it is known to survive a loss of power.
	synced int64
	// rows are in the segment and in memory, but not in the database.
	rows int
	// opens are openings in the segment whose exchange is not closed by a
	// record that will outlive them.
	opens int
	// behindSince is the number of the first row that is in the segment but
	// neither in memory nor surely in the database; 0 if there is none.
	behindSince uint64
}

func (s *segment) done() bool { return s.rows == 0 && s.opens == 0 && s.behindSince == 0 }

// journal appends records to segments. Its owner guards it with a mutex.
type journal struct {
	dir          string
	disk         disk
	segmentBytes int64
	reserveBytes int64

	segments []*segment // of this process; the last one is active
	file     appendFile // the active segment's; nil if there is none
	next     uint64
	// err is why the last append failed. Until retest clears it, append does
	// not touch the disk: a dying disk must not slow the traffic.
	err     error
	reserve bool
}

// openJournal makes the directory and the first segment. A disk without room
// is not an error: the journal then starts in the failing state.
func openJournal(dir string, d disk, segmentBytes, reserveBytes int64) (j *journal, old []string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make journal: %w", err)
	}
	old, err = listSegments(dir)
	if err != nil {
		return nil, nil, err
	}
	j = &journal{dir: dir, disk: d, segmentBytes: segmentBytes, reserveBytes: reserveBytes, next: 1}
	if len(old) > 0 {
		j.next = segmentSeq(old[len(old)-1]) + 1
	}
	if st, err := os.Stat(j.reservePath()); err == nil {
		j.reserve = st.Size() == reserveBytes
	}
	j.err = j.withReserve(func() error { return j.rotate(true) })
	if !j.reserve {
		j.makeReserve()
	}
	return j, old, nil
}

// append writes one record with one write(2), which survives the death of
// the process from then on, and returns the segment that holds it.
func (j *journal) append(rec []byte) (*segment, error) {
	if j.err != nil {
		return nil, j.err
	}
	err := j.withReserve(func() error {
		if a := j.active(); a.size > 0 && a.size+int64(len(rec)) > j.segmentBytes {
			if err := j.rotate(false); err != nil {
				return err
			}
		}
		return j.write(j.active(), rec)
	})
	if err != nil {
		j.err = fmt.Errorf("append to journal: %w", err)
		return nil, j.err
	}
	return j.active(), nil
}

func (j *journal) active() *segment { return j.segments[len(j.segments)-1] }

func (j *journal) write(s *segment, rec []byte) error {
	n, err := j.file.Write(rec)
	if err != nil {
		// Readers skip a torn record, also one in the middle. Taking it back
		// only saves them the search.
		if n > 0 && j.file.Truncate(s.size) != nil {
			s.size += int64(n)
		}
		return err
	}
	s.size += int64(n)
	return nil
}

// rotate makes a new segment active. With probe, only one that has taken a
// write: a full disk may still have room for an empty file.
func (j *journal) rotate(probe bool) error {
	s := &segment{seq: j.next, path: filepath.Join(j.dir, segmentName(j.next))}
	f, err := j.disk.create(s.path)
	if errors.Is(err, fs.ErrExist) {
		j.next++
		return j.rotate(probe)
	}
	if err != nil {
		return err
	}
	if probe {
		rec := encodeRecord(kindProbe, nil)
		if _, err := f.Write(rec); err != nil {
			return errors.Join(err, f.Close(), j.disk.remove(s.path))
		}
		s.size = int64(len(rec))
	}
	j.next++
	if j.file != nil {
		j.file.Close()
	}
	j.file = f
	j.segments = append(j.segments, s)
	return nil
}

// withReserve runs attempt, and once more in the room of the reserve if the
// disk is full.
func (j *journal) withReserve(attempt func() error) error {
	err := attempt()
	if err == nil || !j.reserve || !noSpace(err) {
		return err
	}
	j.reserve = false
	if rmErr := j.disk.remove(j.reservePath()); rmErr != nil {
		return errors.Join(err, rmErr)
	}
	return attempt()
}

func noSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// retest finds out whether a failed journal works again.
func (j *journal) retest() error {
	if err := os.MkdirAll(j.dir, 0o700); err != nil {
		j.err = fmt.Errorf("make journal: %w", err)
		return j.err
	}
	j.err = j.withReserve(func() error { return j.rotate(true) })
	return j.err
}

// vanished reports whether the active segment lost its name: then writes
// still succeed, and nobody would ever read them.
func (j *journal) vanished() bool {
	if j.file == nil {
		return false
	}
	open, err := j.file.Stat()
	if err != nil {
		return true
	}
	named, err := os.Stat(j.active().path)
	return err != nil || !os.SameFile(open, named)
}

func (j *journal) reservePath() string { return filepath.Join(j.dir, reserveName) }

// makeReserve allocates the reserve, if there is room for it and as much
// again: it must not take the room that the next record needs.
func (j *journal) makeReserve() {
	if free, err := j.disk.free(j.dir); err != nil || free < 2*uint64(j.reserveBytes) {
		return
	}
	path := j.reservePath()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return
	}
	f, err := j.disk.create(path)
	if err != nil {
		return
	}
	// Written, not only sized: a sparse file reserves nothing.
	_, err = f.Write(make([]byte, j.reserveBytes))
	if errors.Join(err, f.Close()) != nil {
		j.disk.remove(path)
		return
	}
	j.reserve = true
}

// takeDone gives up the sealed segments that nothing needs any more; the
// caller removes their files. With all, the active one too, which closes the
// journal's file.
func (j *journal) takeDone(all bool) (done []*segment) {
	last := len(j.segments) - 1
	j.segments = slices.DeleteFunc(j.segments, func(s *segment) bool {
		if !s.done() || !all && s == j.segments[last] {
			return false
		}
		done = append(done, s)
		return true
	})
	return done
}

// forget leaves the file of s to the next process.
func (j *journal) forget(s *segment) {
	j.segments = slices.DeleteFunc(j.segments, func(t *segment) bool { return s == t })
}

func (j *journal) bytes() (n int64) {
	for _, s := range j.segments {
		n += s.size
	}
	return n
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	return errors.Join(j.file.Sync(), j.file.Close())
}

func segmentName(seq uint64) string { return fmt.Sprintf("%016x%s", seq, segmentExt) }

func segmentSeq(path string) uint64 {
	seq, _ := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), segmentExt), 16, 64)
	return seq
}

// listSegments returns the paths of the segments in dir, oldest first.
func listSegments(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted by name, and so by number
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list journal: %w", err)
	}
	var paths []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if e.Type().IsRegular() && e.Name() == segmentName(segmentSeq(path)) {
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// readSegment calls emit for every intact record of the segment at path and
// returns how many stretches could not be read.
func readSegment(path string, emit func(k kind, payload []byte)) (damaged int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("read journal: %w", err)
	}
	defer f.Close()
	// No segment is larger than this; what is, is not ours to load.
	data, err := io.ReadAll(io.LimitReader(f, 16<<20))
	if err != nil {
		return 0, fmt.Errorf("read journal: %w", err)
	}
	return scanRecords(data, emit), nil
}
