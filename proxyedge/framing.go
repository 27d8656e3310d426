package proxyedge

import (
	"bytes"
	"strings"
)

// framing follows a request's body as it passes, to know where the next
// request begins. It changes nothing, and stops at a chunked coding that two
// parsers may take apart differently (RFC 9112 section 7.1).
type framing struct {
	left       int64 // bytes until the end of the body, or of a chunk
	chunked    bool
	maxTrailer int

	state   chunkState
	digits  int // of the chunk's size
	ext     int // bytes of the chunk's extensions
	trailer []byte
}

type chunkState int

const (
	chunkSize chunkState = iota
	chunkExt
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkTrailer
)

const (
	maxChunkDigits = 15 // 2^60 bytes
	maxChunkExt    = 4 << 10
)

// pending reports whether the body goes on.
func (f *framing) pending() bool { return f.chunked || f.left > 0 }

// scan returns how many bytes of b belong to the body.
func (f *framing) scan(b []byte) (int, error) {
	if !f.chunked {
		n := min(f.left, int64(len(b)))
		f.left -= n
		return int(n), nil
	}
	for i := 0; i < len(b); {
		if f.state == chunkData {
			n := min(f.left, int64(len(b)-i))
			i += int(n)
			if f.left -= n; f.left == 0 {
				f.state = chunkDataCR
			}
			continue
		}
		if err := f.step(b[i]); err != nil {
			return 0, err
		}
		i++
		if !f.chunked {
			return i, nil
		}
	}
	return len(b), nil
}

// step takes one byte outside of a chunk's data.
func (f *framing) step(c byte) error {
	switch f.state {
	case chunkSize:
		digit := hexValue(c)
		switch {
		case digit >= 0:
			f.left = f.left<<4 | int64(digit)
			if f.digits++; f.digits > maxChunkDigits {
				return malformed("chunk too large")
			}
		case f.digits == 0:
			return malformed("malformed chunk size")
		case c == '\r':
			f.state = chunkSizeLF
		case c == ';':
			f.state, f.ext = chunkExt, 0
		default:
			return malformed("malformed chunk size")
		}
	case chunkExt:
		f.ext++
		switch {
		case c == '\r':
			f.state = chunkSizeLF
		case c < ' ' && c != '\t' || c == 0x7f || f.ext > maxChunkExt:
			return malformed("malformed chunk extension")
		}
	case chunkSizeLF:
		if c != '\n' {
			return malformed("malformed end of a chunk size")
		}
		f.state, f.digits = chunkData, 0
		if f.left == 0 {
			f.state = chunkTrailer
		}
	case chunkDataCR, chunkDataLF:
		if f.state == chunkDataCR && c == '\r' {
			f.state = chunkDataLF
			return nil
		}
		if f.state != chunkDataLF || c != '\n' {
			return malformed("malformed end of a chunk")
		}
		f.state = chunkSize
	case chunkTrailer:
		return f.takeTrailer(c)
	}
	return nil
}

// takeTrailer collects the trailer section up to its empty line.
func (f *framing) takeTrailer(c byte) error {
	f.trailer = append(f.trailer, c)
	switch {
	case len(f.trailer) > f.maxTrailer:
		return malformed("trailer too large")
	case string(f.trailer) == "\r\n":
		f.chunked = false
		return nil
	case c != '\n' || !bytes.HasSuffix(f.trailer, []byte("\r\n\r\n")):
		return nil
	}
	lines, err := splitLines(f.trailer)
	if err != nil {
		return err
	}
	fields, err := parseFields(lines)
	if err != nil {
		return err
	}
	for _, field := range fields {
		// RFC 9110 section 6.5.1: what decides on framing and routing
		// has no place in a trailer.
		if isPrivate(field.name) || disguised(field.name) || strings.EqualFold(field.name, "Content-Length") ||
			strings.EqualFold(field.name, "Transfer-Encoding") || strings.EqualFold(field.name, "Host") {
			return malformed("forbidden field in a trailer")
		}
	}
	f.chunked, f.trailer = false, nil
	return nil
}

func hexValue(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
