package tap

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/andybalholm/brotli"
)

// maxCodings bounds how many codings may lie over one another. Two are
// already unheard of; each multiplies what a hostile body costs to expand.
const maxCodings = 3

// pieceSize is how much is decompressed at once.
const pieceSize = 16 << 10

// The memory of the decompressors, without zstd's and brotli's windows.
const (
	flateMemory  = 56 << 10  // a 32 KiB window, code tables, 4 KiB of input
	brotliMemory = 320 << 10 // 32 KiB of input, tree groups, the ring of a first block
	zstdMemory   = 640 << 10 // blocks of 128 KiB: input, literals, sequences, two of output
)

// content is a body without its content codings (RFC 9110, section 8.4).
type content struct {
	src   *source
	r     io.Reader // nil if there is no coding
	buf   []byte
	err   error
	close []func()
	lease lease
}

// open prepares the codings, listed in the order in which they were applied.
func (c *content) open(encoding []string) error {
	c.lease.tap = c.src.f.tap
	var codings []string
	for coding := range strings.SplitSeq(strings.Join(encoding, ","), ",") {
		coding = strings.ToLower(strings.TrimSpace(coding))
		if coding != "" && coding != "identity" {
			codings = append(codings, coding)
		}
	}
	if len(codings) == 0 {
		return nil
	}
	if len(codings) > maxCodings {
		return fmt.Errorf("%d content codings, more than %d", len(codings), maxCodings)
	}
	if c.src.gather() {
		// All of the body is here, so that reading it depends on nobody, and
		// one decompressor at a time does for all flows.
		c.lease.tap.decoding.Lock()
		c.close = append(c.close, c.lease.tap.decoding.Unlock)
	}
	if err := c.lease.add(pieceSize); err != nil {
		return err
	}
	c.buf = make([]byte, pieceSize)
	c.r = c.src
	for _, coding := range slices.Backward(codings) {
		if err := c.push(coding); err != nil {
			return err
		}
	}
	return nil
}

// push lays a decompressor over c.r.
func (c *content) push(coding string) error {
	switch coding {
	case "gzip", "x-gzip":
		if err := c.lease.add(flateMemory); err != nil {
			return err
		}
		r, err := gzip.NewReader(bufio.NewReaderSize(c.r, 4<<10))
		if err != nil {
			return err
		}
		c.r = r
	case "deflate":
		if err := c.lease.add(flateMemory); err != nil {
			return err
		}
		r, err := newDeflate(bufio.NewReaderSize(c.r, 4<<10))
		if err != nil {
			return err
		}
		c.r = r
	case "br":
		if err := c.lease.add(brotliMemory); err != nil {
			return err
		}
		r := &brotliReader{r: brotli.NewReader(c.r), window: lease{tap: c.lease.tap}}
		c.r = r
		c.close = append(c.close, r.window.free)
	case "zstd":
		if err := c.lease.add(zstdMemory); err != nil {
			return err
		}
		r, err := newZstd(c.r, c.lease.tap)
		if err != nil {
			return err
		}
		c.r = r
		c.close = append(c.close, r.close)
	default:
		return errors.New("unknown content coding")
	}
	return nil
}

// next returns decoded bytes, valid until the next call. A body that ends
// within a coding gives what could be decoded, then io.ErrUnexpectedEOF.
func (c *content) next() ([]byte, error) {
	if c.r == nil {
		return c.src.next()
	}
	for range 100 {
		if c.err == io.EOF {
			return nil, c.srcEnd()
		}
		if c.err != nil {
			return nil, c.err
		}
		var n int
		if n, c.err = c.r.Read(c.buf); n > 0 {
			return c.buf[:n], nil
		}
	}
	return nil, io.ErrNoProgress
}

// srcEnd tells whether the body ended where its coding did. Bytes that a
// coding leaves over are skipped, as clients do.
func (c *content) srcEnd() error {
	for {
		if _, err := c.src.next(); err != nil {
			return err
		}
	}
}

func (c *content) free() {
	c.lease.free()
	for _, closeReader := range slices.Backward(c.close) {
		closeReader()
	}
}

// newDeflate reads what servers send as "deflate": the zlib format, as RFC
// 9110 (section 8.4.1.2) has it, or, as it notes, raw deflate.
func newDeflate(r *bufio.Reader) (io.Reader, error) {
	h, err := r.Peek(2)
	if len(h) == 0 {
		return nil, err
	}
	// RFC 1950, section 2.2: method 8, and a multiple of 31.
	if len(h) == 2 && h[0]&0x0f == 8 && (int(h[0])<<8|int(h[1]))%31 == 0 {
		return zlib.NewReader(r)
	}
	return flate.NewReader(r), nil
}
