package tap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// preludeSize is how much of a message comes before its headers: the lengths of
// the message and of the headers, and the sum of both.
const preludeSize = 12

var errMessage = errors.New("a message of the stream is damaged")

// messageReader splits messages of Amazon's event stream encoding, as
// https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html
// lays them out, from a body that comes in pieces of any size. A message's
// payload is an event; its name is the event's type, or the exception's.
//
// The lengths are the only borders between messages: after a damaged one
// nothing can be read.
type messageReader struct {
	r       *reading
	prelude []byte
	message *buffer // what follows the prelude
	left    int     // of the message
	skipped bool    // the message is too large to be dispatched
	err     error   // what ended the reading
}

func (m *messageReader) write(p []byte) error {
	if m.err == nil {
		if m.err = m.read(p); m.err != nil {
			m.r.lose(m.err.Error())
		}
	}
	return m.err
}

func (m *messageReader) read(p []byte) error {
	for len(p) > 0 {
		if len(m.prelude) < preludeSize {
			n := min(len(p), preludeSize-len(m.prelude))
			m.prelude = append(m.prelude, p[:n]...)
			p = p[n:]
			if len(m.prelude) < preludeSize {
				break
			}
			if !soundPrelude(m.prelude) {
				return errMessage
			}
			m.left = int(binary.BigEndian.Uint32(m.prelude)) - preludeSize
			continue
		}
		n := min(len(p), m.left)
		if !m.skipped {
			if err := m.message.write(p[:n]); err != nil {
				m.r.skip(err)
				m.skipped = true
				m.message.reset()
			}
		}
		p, m.left = p[n:], m.left-n
		if m.left == 0 {
			if err := m.dispatch(); err != nil {
				return err
			}
		}
	}
	return nil
}

// soundPrelude reports whether the prelude's lengths are possible and sum up.
func soundPrelude(b []byte) bool {
	total, headers := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	// The message's own sum is the last of its bytes.
	return total >= preludeSize+4 && headers <= total-preludeSize-4 && total < 1<<31 &&
		crc32.ChecksumIEEE(b[:8]) == binary.BigEndian.Uint32(b[8:])
}

// dispatch hands over the message's payload.
func (m *messageReader) dispatch() error {
	b, headers := m.message.b, int(binary.BigEndian.Uint32(m.prelude[4:]))
	if !m.skipped {
		end := len(b) - 4
		if crc32.Update(crc32.ChecksumIEEE(m.prelude), crc32.IEEETable, b[:end]) != binary.BigEndian.Uint32(b[end:]) {
			return errMessage
		}
		name, err := messageName(b[:headers])
		if err != nil {
			return err
		}
		m.r.parser.Event(name, b[headers:end])
	}
	m.prelude, m.skipped = m.prelude[:0], false
	m.message.reset()
	return nil
}

// messageName finds the name of the event, or of the exception, in a message's
// headers. A header is its name's length and its name, the type of its value,
// and its value.
func messageName(b []byte) (name string, err error) {
	for len(b) > 0 {
		n := int(b[0])
		if len(b) < 1+n+1 {
			return "", errMessage
		}
		header, kind := string(b[1:1+n]), b[1+n]
		b = b[1+n+1:]
		size := 0
		switch kind {
		case 0, 1: // true, false
		case 2: // a byte
			size = 1
		case 3:
			size = 2
		case 4:
			size = 4
		case 5, 8: // a long, a timestamp
			size = 8
		case 6, 7: // bytes, a string
			if len(b) < 2 {
				return "", errMessage
			}
			size = int(binary.BigEndian.Uint16(b))
			b = b[2:]
		case 9: // a UUID
			size = 16
		default:
			return "", fmt.Errorf("%w: a header of type %d", errMessage, kind)
		}
		if len(b) < size {
			return "", errMessage
		}
		if header == ":event-type" || header == ":exception-type" || header == ":error-code" {
			name = string(b[:min(size, maxName)])
		}
		b = b[size:]
	}
	return name, nil
}

// close gives up on a message that was cut: only a whole one sums up.
func (m *messageReader) close(clean bool) {
	if clean && len(m.prelude) > 0 {
		m.r.lose("the last message of the stream is cut")
	}
}

func (m *messageReader) free() { m.message.free() }
