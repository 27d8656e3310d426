package tap

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The opcodes of WebSocket frames (RFC 6455, section 5.2).
const (
	opContinuation = 0
	opText         = 1
	opBinary       = 2
	opClose        = 8
	opPong         = 10
)

var errFrame = errors.New("a WebSocket frame is damaged")

// frame is the header of a frame.
type frame struct {
	fin, compressed bool
	opcode          byte
	masked          bool
	key             [4]byte
	length          uint64
}

// begins reports whether the frame is the first of a message.
func (h frame) begins() bool { return h.opcode == opText || h.opcode == opBinary }

func (h frame) control() bool { return h.opcode >= opClose }

// A framer finds the frames of one direction of a WebSocket in bytes that come
// in pieces of any size. It looks at payloads only to skip them.
type framer struct {
	header [14]byte
	n      int // of the header
	cur    frame
	left   uint64 // of the frame's payload
	inside bool   // a frame
	// open: a message has begun, and its last frame has not ended.
	open bool
	// err is why nothing can be found any more.
	err error
}

// A span is a piece of one frame.
type span struct {
	frame
	payload    []byte
	start, end bool // of the frame
}

// next takes what it can use of p, and returns the rest. A span comes with
// ok; without, the header of a frame is not complete yet.
func (f *framer) next(p []byte) (s span, rest []byte, ok bool, err error) {
	if f.err != nil {
		return span{}, nil, false, f.err
	}
	if !f.inside {
		for !f.headed() {
			if len(p) == 0 {
				return span{}, nil, false, nil
			}
			f.header[f.n] = p[0]
			f.n++
			p = p[1:]
		}
		if f.err = f.begin(); f.err != nil {
			return span{}, nil, false, f.err
		}
		s.start = true
	}
	n := min(uint64(len(p)), f.left)
	s.frame, s.payload = f.cur, p[:n]
	f.left -= n
	if f.left == 0 {
		s.end, f.inside, f.n = true, false, 0
		if !f.cur.control() {
			f.open = !f.cur.fin
		}
	}
	return s, p[n:], true, nil
}

// headed reports whether the header is complete.
func (f *framer) headed() bool {
	if f.n < 2 {
		return false
	}
	size := 2
	switch f.header[1] & 0x7f {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if f.header[1]&0x80 != 0 {
		size += 4
	}
	return f.n == size
}

// begin reads the complete header.
func (f *framer) begin() error {
	b := f.header[:f.n]
	h := frame{
		fin:        b[0]&0x80 != 0,
		compressed: b[0]&0x40 != 0,
		opcode:     b[0] & 0x0f,
		masked:     b[1]&0x80 != 0,
		length:     uint64(b[1] & 0x7f),
	}
	switch h.length {
	case 126:
		h.length = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		h.length = binary.BigEndian.Uint64(b[2:])
	}
	if h.masked {
		copy(h.key[:], b[len(b)-4:])
	}
	switch {
	case b[0]&0x30 != 0:
		return fmt.Errorf("%w: a reserved bit is set", errFrame)
	case h.length > 1<<63-1:
		return fmt.Errorf("%w: its length is negative", errFrame)
	case h.opcode > opBinary && h.opcode < opClose || h.opcode > opPong:
		return fmt.Errorf("%w: its opcode is unknown", errFrame)
	case h.control() && (!h.fin || h.compressed || h.length > 125):
		return fmt.Errorf("%w: it is no control frame", errFrame)
	case h.begins() && f.open || h.opcode == opContinuation && (!f.open || h.compressed):
		return fmt.Errorf("%w: it does not continue its message", errFrame)
	}
	f.cur, f.left, f.inside = h, h.length, true
	return nil
}

// atRest reports whether the direction is between two messages.
func (f *framer) atRest() bool { return !f.inside && f.n == 0 && !f.open }

// messageJoiner puts the messages of one direction together.
type messageJoiner struct {
	framer  framer
	inflate *inflater // nil: the two ends did not agree on compression
	raw     *buffer   // the payload of the message
	plain   *buffer   // the same decompressed
	packed  bool      // the message is compressed
	pos     int       // in the mask
	over    error     // why the message is not whole
	// deliver takes each message, which it must not keep; over says why it is
	// cut, nil if it is whole.
	deliver func(message []byte, over error)
}

// write takes what came. After an error, nothing that follows can be read.
func (j *messageJoiner) write(p []byte) error {
	for len(p) > 0 {
		s, rest, ok, err := j.framer.next(p)
		if err != nil {
			return err
		}
		p = rest
		if !ok || s.control() {
			continue
		}
		if s.start {
			j.pos = 0
			if s.begins() {
				if j.packed = s.compressed; j.packed && j.inflate == nil {
					return fmt.Errorf("%w: it is compressed", errFrame)
				}
			}
		}
		if err := j.keep(s); err != nil {
			return err
		}
		if s.end && s.fin {
			if err := j.finish(); err != nil {
				return err
			}
		}
	}
	return nil
}

// keep appends the span to the message, without its mask.
func (j *messageJoiner) keep(s span) error {
	if j.over != nil {
		return nil
	}
	at := len(j.raw.b)
	if err := j.raw.write(s.payload); err != nil {
		j.over = err
		if j.packed && j.inflate.takeover {
			return err // what comes after refers to it
		}
	}
	if s.masked {
		for i := range j.raw.b[at:] {
			j.raw.b[at+i] ^= s.key[(j.pos+i)&3]
		}
		j.pos += len(s.payload)
	}
	return nil
}

// finish delivers the message.
func (j *messageJoiner) finish() error {
	message, over := j.raw.b, j.over
	if j.packed {
		err := j.inflate.message(j.raw.b, j.plain)
		switch {
		case err == nil:
		case !errors.Is(err, errTooLong) && !errors.Is(err, errNoRoom) || j.inflate.takeover:
			return err
		case over == nil:
			over = err
		}
		message = j.plain.b
	}
	j.deliver(message, over)
	j.raw.reset()
	j.plain.reset()
	j.over = nil
	return nil
}

func (j *messageJoiner) free() {
	j.raw.free()
	j.plain.free()
	if j.inflate != nil {
		j.inflate.free()
	}
}
