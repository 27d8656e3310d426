package tap

import "io"

// chunkSize is the unit in which copied bytes are queued. Small reads share a
// chunk, and each stream that is under way holds one, or another one for its
// request until they make a batch.
const chunkSize = 4 << 10

type chunk struct {
	next *chunk
	n    int
	b    [chunkSize]byte
}

// newChunk returns an empty chunk, or nil if the shared memory is used up.
func (t *Tap) newChunk() *chunk {
	if !t.take(chunkSize) {
		return nil
	}
	if c, ok := t.chunks.Get().(*chunk); ok {
		return c
	}
	return new(chunk)
}

func (t *Tap) freeChunk(c *chunk) {
	c.next, c.n = nil, 0
	t.chunks.Put(c)
	t.give(chunkSize)
}

// A direction is the copied bytes of one of a flow's two bodies that are not
// parsed yet. Flow.mu guards it.
type direction struct {
	head, tail *chunk
	// closed: no more bytes will be queued; clean: because of an io.EOF.
	closed, clean bool
	// cut: bytes were dropped after the queued ones.
	cut bool
	// ignored: nobody wants further bytes; they are not dropped for want of
	// room.
	ignored bool
}

// push queues a copy of p as far as there is room, and drops the rest. It
// never waits for anything but the lock, which nobody holds for longer than a
// copy takes.
func (f *Flow) push(d *direction, p []byte) {
	if d.ignored || d.closed && !d.cut {
		return
	}
	for len(p) > 0 && !d.cut {
		room := min(len(p), f.tap.maxQueue()-f.queued)
		if room > 0 && (d.tail == nil || d.tail.n == chunkSize) {
			if c := f.tap.newChunk(); c == nil {
				room = 0
			} else if d.tail == nil {
				d.head, d.tail = c, c
			} else {
				d.tail.next, d.tail = c, c
			}
		}
		if room <= 0 {
			d.cut, d.closed = true, true
			break
		}
		n := copy(d.tail.b[d.tail.n:], p[:room])
		d.tail.n += n
		f.queued += n
		p = p[n:]
	}
	f.dropped += int64(len(p))
	if d.cut || f.queued >= f.tap.batch() {
		f.wake()
	}
}

// batch is how many bytes wake the flow's goroutine while the body goes on.
// Nobody looks at a stream's usage before its end, and a wake-up for each of
// its small events would cost more than to parse it.
func (t *Tap) batch() int { return min(chunkSize, t.maxQueue()/2) }

// discard frees what is queued. The caller holds f.mu.
func (f *Flow) discard(d *direction) {
	for c := d.head; c != nil; {
		next := c.next
		f.queued -= c.n
		f.tap.freeChunk(c)
		c = next
	}
	d.head, d.tail = nil, nil
}

// A source reads a direction in the flow's goroutine.
type source struct {
	f    *Flow
	d    *direction
	cur  *chunk
	rest []byte
}

// next waits for a batch of bytes and returns some of it; they are valid until the next call.
// At the end it returns io.EOF, or io.ErrUnexpectedEOF if the body was cut or
// bytes were dropped here.
func (s *source) next() ([]byte, error) {
	if len(s.rest) > 0 {
		p := s.rest
		s.rest = nil
		return p, nil
	}
	s.free()
	f := s.f
	f.mu.Lock()
	defer f.mu.Unlock()
	s.wait(f.tap.batch())
	c := s.d.head
	if c == nil {
		if s.d.clean && !s.d.cut {
			return nil, io.EOF
		}
		return nil, io.ErrUnexpectedEOF
	}
	s.d.head = c.next
	if s.d.head == nil {
		s.d.tail = nil
	}
	f.queued -= c.n
	s.cur = c
	return c.b[:c.n], nil
}

// Read is next for decompressors.
func (s *source) Read(p []byte) (int, error) {
	b, err := s.next()
	if err != nil {
		return 0, err
	}
	n := copy(p, b)
	s.rest = b[n:]
	return n, nil
}

// maxGather is how much of a compressed body is kept as it is.
const maxGather = 512 << 10

// gather waits until the body is over or much of it is queued, so that a
// decompressor, whose window is large beside what it reads, lives briefly. It
// reports whether the body is over.
func (s *source) gather() (over bool) {
	f := s.f
	f.mu.Lock()
	defer f.mu.Unlock()
	s.wait(min(maxGather, f.tap.maxQueue()/2))
	return s.d.closed
}

// wait returns when the body is over or n bytes of it are queued. The caller
// holds f.mu.
func (s *source) wait(n int) {
	for !s.d.closed && (s.d.head == nil || s.f.queued < n) {
		s.f.cond.Wait()
	}
}

// stop makes the flow forget the rest of the direction.
func (s *source) stop() {
	s.free()
	s.f.mu.Lock()
	s.d.ignored = true
	s.f.discard(s.d)
	s.f.mu.Unlock()
}

func (s *source) free() {
	s.rest = nil
	if s.cur != nil {
		s.f.tap.freeChunk(s.cur)
		s.cur = nil
	}
}
