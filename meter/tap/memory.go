package tap

import "errors"

// errNoRoom says that all flows together hold MaxTotal.
var errNoRoom = errors.New("the tap's memory is used up")

// take reserves n bytes of the memory that all flows share.
func (t *Tap) take(n int64) bool {
	for {
		used := t.used.Load()
		if used+n > t.maxTotal() {
			return false
		}
		if t.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

func (t *Tap) give(n int64) { t.used.Add(-n) }

// A lease is memory that one flow has reserved, to be given back at once.
type lease struct {
	tap *Tap
	n   int64
}

// raise makes the lease at least n bytes large.
func (l *lease) raise(n int64) error { return l.add(n - l.n) }

func (l *lease) add(n int64) error {
	if n <= 0 {
		return nil
	}
	if !l.tap.take(n) {
		return errNoRoom
	}
	l.n += n
	return nil
}

func (l *lease) free() {
	l.tap.give(l.n)
	l.n = 0
}

// errTooLong says that a buffer has reached its own limit.
var errTooLong = errors.New("longer than its limit")

// A buffer keeps bytes, at most max, out of the shared memory.
type buffer struct {
	tap *Tap
	max int
	b   []byte
}

// write appends p. If it returns an error, the buffer holds as much of p as
// there was room for.
func (b *buffer) write(p []byte) error {
	var err error
	if room := b.max - len(b.b); len(p) > room {
		p, err = p[:room], errTooLong
	}
	if need := len(b.b) + len(p); need > cap(b.b) {
		if !b.grow(max(need, min(max(2*cap(b.b), 512), b.max))) && !b.grow(need) {
			p, err = p[:cap(b.b)-len(b.b)], errNoRoom
		}
	}
	b.b = append(b.b, p...)
	return err
}

// grow counts the old and the new array until the old one is given up, because
// both exist while one is copied to the other.
func (b *buffer) grow(size int) bool {
	if !b.tap.take(int64(size)) {
		return false
	}
	grown := make([]byte, len(b.b), size)
	copy(grown, b.b)
	b.tap.give(int64(cap(b.b)))
	b.b = grown[:len(b.b):size]
	return true
}

// reset empties the buffer. A small array is kept for the next event.
func (b *buffer) reset() {
	if cap(b.b) > chunkSize {
		b.free()
		return
	}
	b.b = b.b[:0]
}

func (b *buffer) free() {
	b.tap.give(int64(cap(b.b)))
	b.b = nil
}
