package ledger

import (
	"fmt"
	"path/filepath"
)

// The reserve is room that the journal took while there was some: files of
// zeros, called pieces. When the disk is full, a piece is renamed to be the
// next segment and is written in place. To free it and to write elsewhere
// would not do: another program, or the database's own write-ahead log, may
// be quicker to take what becomes free.
const (
	reserveName = "reserve-"

	// There are several pieces because a process takes a new one each time
	// it starts on a full disk.
	defaultReservePieces = 8
	defaultPieceBytes    = 256 << 10
)

// findReserve takes over the pieces of earlier processes.
func (j *journal) findReserve() {
	found, _ := filepath.Glob(filepath.Join(escapeGlob(j.dir), reserveName+"*"))
	for _, path := range found {
		if fileSize(path) == j.pieceBytes && len(j.pieces) < j.reservePieces {
			j.pieces = append(j.pieces, path)
		} else {
			// A part of one, or that of a release with other sizes.
			_ = j.disk.remove(path)
		}
	}
}

// makeReserve makes the pieces that are missing, as long as that leaves as
// much free as all of them take: the next record must find room as well.
func (j *journal) makeReserve() {
	for i := 0; i < j.reservePieces && len(j.pieces) < j.reservePieces; i++ {
		path := j.piecePath(i)
		if exists(path) {
			continue
		}
		if !j.roomFor(int64(j.reservePieces) * j.pieceBytes) {
			return
		}
		if j.disk.allocate(path, j.pieceBytes) != nil {
			return
		}
		j.pieces = append(j.pieces, path)
	}
}

func (j *journal) piecePath(i int) string {
	return filepath.Join(j.dir, fmt.Sprintf("%s%d", reserveName, i))
}

// roomFor reports whether the disk has so many bytes to give, or does not say.
func (j *journal) roomFor(n int64) bool {
	free, err := j.disk.free(j.dir)
	return err != nil || free >= uint64(n)
}

// takePiece makes a piece of the reserve the active segment, with room for a
// record of the given size.
func (j *journal) takePiece(size int64) bool {
	head := encodeRecord(kindRoom, nil)
	for len(j.pieces) > 0 && size+int64(len(head)) <= j.pieceBytes {
		piece := j.pieces[0]
		j.pieces = j.pieces[1:]
		s := &segment{seq: j.next, path: filepath.Join(j.dir, segmentName(j.next)), reserved: true}
		j.next++
		if j.disk.rename(piece, s.path) != nil {
			continue
		}
		f, err := j.disk.open(s.path)
		if err != nil {
			continue
		}
		if _, err := f.WriteAt(head, 0); err != nil {
			f.Close()
			continue
		}
		s.size = int64(len(head))
		j.activate(s, f)
		return true
	}
	return false
}

// inReserve reports whether the active segment is a piece of the reserve.
func (j *journal) inReserve() bool {
	return len(j.segments) > 0 && j.active().reserved
}

// leaveReserve goes back to an ordinary segment once the disk has room again.
func (j *journal) leaveReserve() {
	if j.inReserve() && j.roomFor(2*j.pieceBytes) {
		// If it fails after all, the piece goes on serving.
		_ = j.rotate(true)
	}
}

// reuse empties the active segment, whose records nobody needs any more, where
// there is no other: to remove a piece of the reserve would give away room
// that cannot be had back now.
func (j *journal) reuse() error {
	s := j.active()
	if !s.reserved {
		if err := j.file.Truncate(0); err != nil {
			return err
		}
		s.size, s.synced = 0, 0
		return nil
	}
	head := encodeRecord(kindRoom, nil)
	if _, err := j.file.WriteAt(make([]byte, s.size-int64(len(head))), int64(len(head))); err != nil {
		return err
	}
	s.size, s.synced = int64(len(head)), 0
	return nil
}

// giveBack makes a piece of the reserve again of a segment that was one and
// is no longer needed. It reports whether that worked.
func (j *journal) giveBack(s *segment) bool {
	if !s.reserved || len(j.pieces) >= j.reservePieces {
		return false
	}
	for i := range j.reservePieces {
		path := j.piecePath(i)
		if exists(path) {
			continue
		}
		f, err := j.disk.open(s.path)
		if err != nil {
			return false
		}
		_, err = f.WriteAt(make([]byte, s.size), 0)
		if f.Close() != nil || err != nil || j.disk.rename(s.path, path) != nil {
			return false
		}
		j.pieces = append(j.pieces, path)
		return true
	}
	return false
}

// reserveLeft is how many bytes of the reserve can still be written.
func (j *journal) reserveLeft() int64 {
	left := int64(len(j.pieces)) * j.pieceBytes
	if j.inReserve() {
		left += j.pieceBytes - j.active().size
	}
	return left
}
