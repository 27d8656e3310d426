package tap

import (
	"bytes"
	"mime"
	"strings"
)

// maxSniff is how many bytes may come before the form of a body is decided by
// its Content-Type alone.
const maxSniff = 512

// form is how a response's body is to be read.
type form int

const (
	undecided form = iota
	whole          // one JSON document, or anything else
	events         // server-sent events
	lines          // JSON documents, one a line
	messages       // Amazon's event stream encoding
)

// formOf believes the body's first bytes more than its Content-Type: providers
// send JSON errors as text/event-stream, and gateways send events as
// application/json. It is undecided if more bytes can tell; with last set
// there are none.
func formOf(contentType string, start []byte, last bool) form {
	declared := whole
	mediaType, _, _ := mime.ParseMediaType(contentType)
	switch {
	case mediaType == "application/vnd.amazon.eventstream":
		// Sums in a message's first bytes tell it from anything else.
		switch {
		case len(start) >= preludeSize && soundPrelude(start):
			return messages
		case len(start) < preludeSize && !last:
			return undecided
		}
	case mediaType == "text/event-stream":
		declared = events
	case strings.HasSuffix(mediaType, "ndjson"), strings.HasSuffix(mediaType, "jsonl"),
		strings.HasSuffix(mediaType, "jsonlines"), strings.HasSuffix(mediaType, "json-seq"):
		declared = lines
	}

	text := bytes.TrimLeft(start, " \t\r\n")
	switch {
	case len(text) == 0:
		if !last && len(start) < maxSniff {
			return undecided
		}
	case text[0] == '{' || text[0] == '[':
		if declared == events {
			return whole
		}
	default:
		for _, field := range []string{":", "data:", "event:", "id:", "retry:"} {
			if bytes.HasPrefix(text, []byte(field)) {
				return events
			}
			if !last && strings.HasPrefix(field, string(text)) {
				return undecided
			}
		}
	}
	return declared
}

// sniffer holds back the first bytes of a decoded body until its form is
// known, and then hands all to the reader of that form.
type sniffer struct {
	r     *reading
	start []byte
	bom   bool // a byte order mark was looked for
	to    sink
}

// A sink reads a body of one form. Its close is told whether the body came to
// its proper end.
type sink interface {
	write(p []byte) error
	close(clean bool)
	free()
}

func (s *sniffer) write(p []byte) error {
	if s.to != nil {
		return s.to.write(p)
	}
	n := min(len(p), maxSniff)
	s.start = append(s.start, p[:n]...)
	if !s.skipMark(false) {
		return nil
	}
	if err := s.decide(false); err != nil || s.to == nil {
		return err
	}
	return s.to.write(p[n:])
}

func (s *sniffer) close(clean bool) {
	if s.to == nil {
		s.skipMark(true)
		// What does not fit is marked by the sink itself.
		_ = s.decide(true)
	}
	s.to.close(clean)
}

func (s *sniffer) free() {
	if s.to != nil {
		s.to.free()
	}
}

// skipMark removes the byte order mark that RFC 8259 (section 8.1) lets a
// parser ignore and the event stream format tells it to.
func (s *sniffer) skipMark(last bool) (done bool) {
	const mark = "\xef\xbb\xbf"
	if s.bom {
		return true
	}
	if !last && len(s.start) < len(mark) && strings.HasPrefix(mark, string(s.start)) {
		return false
	}
	s.start = bytes.TrimPrefix(s.start, []byte(mark))
	s.bom = true
	return true
}

func (s *sniffer) decide(last bool) error {
	hd := s.r.f.head(&s.r.f.respHead)
	f := formOf(hd.contentType, s.start, last)
	if len(s.start) == 0 && last {
		// The status of an empty answer reaches the parser with Body only.
		f = whole
	}
	switch f {
	case undecided:
		return nil
	case events:
		s.to = &eventReader{r: s.r, data: s.r.document(maxEvent)}
	case lines:
		s.to = &lineReader{r: s.r, line: s.r.document(maxEvent)}
	case messages:
		s.to = &messageReader{r: s.r, message: &buffer{tap: s.r.f.tap, max: maxEvent}}
	case whole:
		s.to = &bodyReader{r: s.r, status: hd.status, body: s.r.document(s.r.f.tap.maxBody())}
	}
	start := s.start
	s.start = nil
	return s.to.write(start)
}

// bodyReader keeps a whole body for the parser.
type bodyReader struct {
	r      *reading
	status int
	body   *document
}

func (b *bodyReader) write(p []byte) error {
	err := b.body.write(p)
	if err != nil {
		b.r.lose("keep the response's body: " + err.Error())
	}
	return err
}

func (b *bodyReader) close(bool) { b.r.parser.Body(b.status, b.body.b) }

func (b *bodyReader) free() { b.body.free() }
