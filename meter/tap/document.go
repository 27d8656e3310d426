package tap

import "bytes"

// longString is how much is kept of a string in a JSON text. What names usage,
// models and clients is far shorter; what is longer are images, sounds and
// files in base64, of which one alone may be larger than all that is kept.
const longString = 256 << 10

// A document is a buffer that keeps a JSON text without the rest of its long
// strings, so that what follows them has room. Any other text is kept as it is.
type document struct {
	buffer
	long   int // longString
	at     place
	n      int  // bytes of the string that were seen
	calm   int  // of the bytes behind the first long ones, those since a backslash
	escape bool // the string's last byte was a backslash that escapes the next
}

// place is where in the text a document is.
type place int

const (
	atStart    place = iota
	notJSON          // neither an object nor an array
	between          // outside of strings
	inString         // within one
	pastString       // in the part of one that is not kept
)

func (r *reading) document(limit int) *document {
	return &document{buffer: buffer{tap: r.f.tap, max: limit}, long: longString}
}

func (d *document) write(p []byte) error {
	for len(p) > 0 {
		var err error
		switch d.at {
		case atStart:
			if text := bytes.TrimLeft(p, " \t\r\n\x1e"); len(text) == 0 {
				return d.buffer.write(p)
			} else if d.at = notJSON; text[0] == '{' || text[0] == '[' {
				d.at = between
			}
		case notJSON:
			return d.buffer.write(p)
		case between:
			quote := bytes.IndexByte(p, '"')
			if quote < 0 {
				return d.buffer.write(p)
			}
			err = d.buffer.write(p[:quote+1])
			p = p[quote+1:]
			d.at, d.n, d.calm, d.escape = inString, 0, 0, false
		case inString, pastString:
			n, ended := d.stringEnd(p)
			if err = d.keep(p[:n]); err == nil && ended {
				err = d.buffer.write(p[n : n+1])
				n++
				d.at = between
			}
			p = p[n:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stringEnd returns how much of p belongs to the string, and whether the quote
// that ends it follows.
func (d *document) stringEnd(p []byte) (n int, ended bool) {
	for {
		quote := bytes.IndexByte(p[n:], '"')
		text := p[n:]
		if quote >= 0 {
			text = p[n : n+quote]
		}
		slashes := len(text) - len(bytes.TrimRight(text, `\`))
		// Those at the end escape one another in pairs, with one that came
		// before if there are no others.
		odd := slashes%2 == 1
		if d.escape && len(text) == slashes {
			odd = !odd
		}
		n += len(text)
		d.escape = false
		switch {
		case quote < 0:
			d.escape = odd
			return n, false
		case !odd:
			return n, true
		}
		n++ // an escaped quote
	}
}

// keep writes a part of a string while it is short. It cuts behind a whole
// escape (\u and four digits are the longest) and a whole character.
func (d *document) keep(p []byte) error {
	if d.at == pastString {
		return nil
	}
	n := min(len(p), max(0, d.long-d.n))
	for ; n < len(p); n++ {
		if continues := p[n]&0xc0 == 0x80; d.calm >= 6 && !continues {
			d.at = pastString
			break
		}
		d.calm++
		if p[n] == '\\' {
			d.calm = 0
		}
	}
	d.n += n
	return d.buffer.write(p[:n])
}

// reset empties the document for another text.
func (d *document) reset() {
	d.buffer.reset()
	d.at = atStart
}
