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
)

const (
	// segmentExt carries the version of the format: a release with another
	// one leaves these alone, and finds them again after a downgrade.
	segmentExt = ".j1"

	defaultSegmentBytes = 1 << 20
	// maxSegment is how large a segment may become where no new one can be
	// made; readers read no more of one.
	maxSegment = 16 << 20
)

// segment is one file of the journal, and what keeps it from being removed.
type segment struct {
	seq  uint64
	path string
	size int64
	// reserved segments were a piece of the reserve, and do not grow.
	reserved bool
	// synced is how much of it is known to survive a loss of power.
	synced int64
	// rows are in the segment and in memory, but not in the database.
	rows int
	// opens are openings in the segment whose exchange is not closed by a
	// record that will outlive them.
	opens int
	// behindSince is the number of the first row that is in the segment but
	// neither in memory nor surely in the database; 0 if there is none.
	// catchingUp is the same of those that are being read back.
	behindSince, catchingUp uint64
}

func (s *segment) done() bool {
	return s.rows == 0 && s.opens == 0 && s.behindSince == 0 && s.catchingUp == 0
}

// since is the number of the first row that only the segment holds; 0 if
// there is none.
func (s *segment) since() uint64 {
	if s.catchingUp > 0 {
		return s.catchingUp
	}
	return s.behindSince
}

// journal appends records to segments. Its owner guards it with a mutex.
type journal struct {
	dir           string
	disk          disk
	segmentBytes  int64
	pieceBytes    int64
	reservePieces int

	segments []*segment  // of this process; the last one is active
	file     journalFile // the active segment's; nil if there is none
	next     uint64
	// err is why the last append failed. Until retest clears it, append does
	// not touch the disk: a dying disk must not slow the traffic.
	err    error
	pieces []string // paths of the reserve's pieces
}

// openJournal makes the directory and the first segment. A disk that does not
// take them is not an error: the journal then starts in the failing state.
func openJournal(dir string, t tuning) (j *journal, old []string, err error) {
	j = &journal{
		dir: dir, disk: t.disk, next: 1,
		segmentBytes: t.segmentBytes, pieceBytes: t.pieceBytes, reservePieces: t.reservePieces,
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		j.err = fmt.Errorf("make journal: %w", err)
		return j, nil, nil
	}
	old, err = listSegments(dir)
	if err != nil {
		return nil, nil, err
	}
	if len(old) > 0 {
		j.next = segmentSeq(old[len(old)-1]) + 1
	}
	j.findReserve()
	if j.begin() == nil {
		j.makeReserve()
	}
	return j, old, nil
}

// begin makes a segment active that surely takes writes.
func (j *journal) begin() error {
	j.err = j.rotate(true)
	if noSpace(j.err) && j.takePiece(0) {
		j.err = nil
	}
	return j.err
}

// append writes one record with one write(2), which survives the death of
// the process from then on, and returns the segment that holds it.
func (j *journal) append(rec []byte) (*segment, error) {
	if j.err != nil {
		return nil, j.err
	}
	err := j.put(rec)
	for noSpace(err) && j.takePiece(int64(len(rec))) {
		err = j.put(rec)
	}
	if noSpace(err) && j.inReserve() && len(j.pieces) > 0 {
		return nil, err // no piece is large enough for this one record
	}
	if err != nil {
		j.err = fmt.Errorf("append to journal: %w", err)
		return nil, j.err
	}
	return j.active(), nil
}

// put writes rec into the active segment, or a new one if that is full.
func (j *journal) put(rec []byte) error {
	a, limit := j.active(), j.segmentBytes
	if a.reserved {
		limit = j.pieceBytes
	}
	if a.size > 0 && a.size+int64(len(rec)) > limit {
		err := j.rotate(a.reserved)
		if err != nil && (a.reserved || a.size+int64(len(rec)) > maxSegment) {
			return err
		}
		// A directory that takes no new file may let the old one grow.
	}
	return j.write(j.active(), rec)
}

func (j *journal) active() *segment { return j.segments[len(j.segments)-1] }

func (j *journal) write(s *segment, rec []byte) error {
	n, err := j.file.WriteAt(rec, s.size)
	if err != nil {
		// Readers skip a torn record, also one in the middle. Taking it back
		// only saves them the search. What is reserved stays allocated.
		if n > 0 && (s.reserved || j.file.Truncate(s.size) != nil) {
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
		if _, err := f.WriteAt(rec, 0); err != nil {
			return errors.Join(err, f.Close(), j.disk.remove(s.path))
		}
		s.size = int64(len(rec))
	}
	j.next++
	j.activate(s, f)
	return nil
}

func (j *journal) activate(s *segment, f journalFile) {
	if j.file != nil {
		j.file.Close()
	}
	j.file = f
	j.segments = append(j.segments, s)
}

// retest finds out whether a failed journal works again.
func (j *journal) retest() error {
	if err := os.MkdirAll(j.dir, 0o700); err != nil {
		j.err = fmt.Errorf("make journal: %w", err)
		return j.err
	}
	if noSpace(j.err) && !j.roomFor(retestBytes) {
		// A write of some bytes would succeed, and the next one fail again.
		if j.takePiece(0) {
			j.err = nil
		}
		return j.err
	}
	return j.begin()
}

// retestBytes must be free before a journal that found the disk full tries
// it again.
const retestBytes = 64 << 10

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

// takeDone gives up the sealed segments that nothing needs any more; the
// caller removes their files. With all, the active one too, which closes the
// journal's file.
func (j *journal) takeDone(all bool) (done []*segment) {
	last := len(j.segments) - 1
	j.segments = slices.DeleteFunc(j.segments, func(s *segment) bool {
		if !s.done() || !all && s == j.segments[last] {
			return false
		}
		if s == j.segments[last] || !j.giveBack(s) {
			done = append(done, s)
		}
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
	// No segment is larger than this; what is, is not ours to load.
	return readSegmentTo(path, maxSegment, emit)
}

// readSegmentTo is readSegment for the first size bytes.
func readSegmentTo(path string, size int64, emit func(k kind, payload []byte)) (damaged int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("read journal: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, size))
	if err != nil {
		return 0, fmt.Errorf("read journal: %w", err)
	}
	return scanRecords(data, emit), nil
}
