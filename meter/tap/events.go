package tap

import (
	"bytes"
	"errors"
)

// maxName bounds an event's name; a longer one is cut.
const maxName = 256

// eventReader splits server-sent events, as the WHATWG HTML standard (section
// 9.2.6, "Interpreting an event stream") interprets them, from a body that
// comes in pieces of any size. It looks at each byte once.
//
// It departs from the standard in one point. The standard throws away an event
// that the end of the stream leaves without its blank line; here it is
// dispatched, because providers have ended streams without one after the
// event that names the usage. Only an event that was cut within a line is
// thrown away.
type eventReader struct {
	r    *reading
	data *document

	name    []byte
	hasData bool
	skipped bool // the event is too large to be dispatched

	field   [5]byte // the line's field name, as far as it is known
	fieldN  int
	part    linePart
	afterCR bool
}

// linePart is where in a line the reader is.
type linePart int

const (
	lineStart linePart = iota
	fieldName
	valueStart // after the colon, where one space is skipped
	value
	comment // what is ignored to the end of the line
)

func (e *eventReader) write(p []byte) error {
	for len(p) > 0 {
		if e.afterCR {
			e.afterCR = false
			if p[0] == '\n' {
				p = p[1:]
				continue
			}
		}
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			end = len(p)
		}
		if cr := bytes.IndexByte(p[:end], '\r'); cr >= 0 {
			end = cr
		}
		e.text(p[:end])
		if end == len(p) {
			return nil
		}
		e.afterCR = p[end] == '\r'
		e.endLine()
		p = p[end+1:]
	}
	return nil
}

// text takes a part of a line.
func (e *eventReader) text(p []byte) {
	for len(p) > 0 {
		switch e.part {
		case lineStart, fieldName:
			c := p[0]
			p = p[1:]
			switch {
			case c == ':':
				e.startValue()
			case e.fieldN == len(e.field):
				e.part = comment
			default:
				e.field[e.fieldN] = c
				e.fieldN++
				e.part = fieldName
			}
		case valueStart:
			if p[0] == ' ' {
				p = p[1:]
			}
			e.part = value
		case value:
			if e.isData() {
				e.keep(p)
			} else {
				e.name = append(e.name, p[:min(len(p), maxName-len(e.name))]...)
			}
			return
		case comment:
			return
		}
	}
}

func (e *eventReader) startValue() {
	e.part = valueStart
	switch {
	case e.isData():
		if e.hasData {
			e.keep([]byte("\n"))
		}
		e.hasData = true
	case string(e.field[:e.fieldN]) == "event":
		e.name = e.name[:0]
	default:
		e.part = comment
	}
}

func (e *eventReader) isData() bool { return string(e.field[:e.fieldN]) == "data" }

// keep appends to the event's data. An event that is too large is skipped; the
// stream goes on after it.
func (e *eventReader) keep(p []byte) {
	if e.skipped {
		return
	}
	if err := e.data.write(p); err != nil {
		e.r.skip(err)
		e.skipped = true
		e.data.reset()
	}
}

func (e *eventReader) endLine() {
	if e.part == lineStart {
		e.dispatch()
	}
	if e.part == fieldName {
		// A line without a colon is a field with an empty value.
		e.startValue()
	}
	e.part, e.fieldN = lineStart, 0
}

func (e *eventReader) dispatch() {
	if e.hasData && !e.skipped {
		e.r.parser.Event(string(e.name), e.data.b)
	}
	e.name, e.hasData, e.skipped = e.name[:0], false, false
	e.data.reset()
}

func (e *eventReader) close(clean bool) {
	if e.part != lineStart {
		if !clean {
			return
		}
		e.endLine()
	}
	e.dispatch()
}

func (e *eventReader) free() { e.data.free() }

// lineReader takes each line as the data of an event without a name. A last
// line without its newline counts if the body came to its proper end.
type lineReader struct {
	r       *reading
	line    *document
	skipped bool
}

func (l *lineReader) write(p []byte) error {
	for {
		text, rest, ended := bytes.Cut(p, []byte("\n"))
		if !l.skipped {
			if err := l.line.write(text); err != nil {
				l.r.skip(err)
				l.skipped = true
			}
		}
		if !ended {
			return nil
		}
		l.dispatch()
		p = rest
	}
}

func (l *lineReader) dispatch() {
	// RFC 7464 puts a record separator before each document.
	if text := bytes.Trim(l.line.b, " \t\r\x1e"); len(text) > 0 && !l.skipped {
		l.r.parser.Event("", text)
	}
	l.line.reset()
	l.skipped = false
}

func (l *lineReader) close(clean bool) {
	if clean {
		l.dispatch()
	}
}

func (l *lineReader) free() { l.line.free() }

// skip notes that an event did not fit.
func (r *reading) skip(err error) {
	if errors.Is(err, errTooLong) {
		r.lose("an event of the stream was larger than 16 MiB without its long strings")
		return
	}
	r.lose("keep an event of the stream: " + err.Error())
}
