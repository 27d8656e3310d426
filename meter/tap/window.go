package tap

import (
	"bufio"
	"errors"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// maxWindow is the largest window of the zstd coding (RFC 9659, section 3).
const maxWindow = 8 << 20

var errWindow = errors.New("zstd: the window is larger than RFC 9659 allows")

// zstdReader decodes the zstd coding.
type zstdReader struct {
	frames *zstdFrames
	dec    *zstd.Decoder
}

func newZstd(r io.Reader, t *Tap) (*zstdReader, error) {
	frames := &zstdFrames{src: bufio.NewReaderSize(r, 4<<10), window: lease{tap: t}}
	// With a concurrency of one the decoder has no goroutines.
	dec, err := zstd.NewReader(frames, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	return &zstdReader{frames, dec}, err
}

func (z *zstdReader) Read(p []byte) (int, error) {
	n, err := z.dec.Read(p)
	// The decoder takes a cut before a frame's magic number is complete for
	// the end.
	if err != nil && z.frames.err != nil {
		err = z.frames.err
	}
	return n, err
}

func (z *zstdReader) close() {
	z.dec.Close()
	z.frames.window.free()
}

// zstdFrames passes zstd frames (RFC 8878, section 3.1) through and reserves
// the memory of each one's window before the decoder sees its header, since
// the decoder allocates it at once.
type zstdFrames struct {
	src    *bufio.Reader
	window lease
	left   int64 // of the part that is being passed through
	state  zstdState
	sum    bool // the frame ends with a checksum
	err    error
}

type zstdState int

const (
	atFrame zstdState = iota
	atBlock
	atChecksum
)

func (z *zstdFrames) Read(p []byte) (int, error) {
	for z.left == 0 && z.err == nil {
		z.err = z.advance()
	}
	if z.err != nil {
		return 0, z.err
	}
	n, err := z.src.Read(p[:min(int64(len(p)), z.left)])
	z.left -= int64(n)
	if n == 0 {
		z.err = unexpected(err)
	}
	return n, z.err
}

// advance finds the length of the next part: a frame's header, a block with
// its header, a checksum, a skippable frame.
func (z *zstdFrames) advance() error {
	switch z.state {
	case atFrame:
		return z.frame()
	case atBlock:
		b, err := z.src.Peek(3)
		if len(b) < 3 {
			return unexpected(err)
		}
		h := int(b[0]) | int(b[1])<<8 | int(b[2])<<16
		z.left = 3 + int64(h>>3)
		if h>>1&3 == 1 { // an RLE block holds one byte, whatever its size
			z.left = 4
		}
		if h&1 == 1 {
			z.state = atChecksum
		}
	case atChecksum:
		z.state = atFrame
		if z.sum {
			z.left = 4
		}
	}
	return nil
}

func (z *zstdFrames) frame() error {
	b, err := z.src.Peek(zstd.HeaderMaxSize)
	if len(b) == 0 {
		return err
	}
	var h zstd.Header
	if err := h.Decode(b); err != nil {
		return err
	}
	if h.Skippable {
		z.left = int64(h.HeaderSize) + int64(h.SkippableSize)
		return nil
	}
	window := h.WindowSize
	if h.SingleSegment {
		window = h.FrameContentSize
	}
	if window > maxWindow {
		return errWindow
	}
	z.left, z.state, z.sum = int64(h.HeaderSize), atBlock, h.HasCheckSum
	return z.window.raise(int64(window))
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// brotliReader reserves the ring buffer of a brotli decoder, which grows with
// its output, to the next power of two, and to 16 MiB at most (RFC 7932,
// section 9.1).
type brotliReader struct {
	r      *brotli.Reader
	window lease
	out    int64
}

func (b *brotliReader) Read(p []byte) (int, error) {
	if err := b.window.raise(min(2*(b.out+int64(len(p))), 16<<20)); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	b.out += int64(n)
	return n, err
}
