// Package smallfile reads files that anybody may have put there: a named pipe
// of that name holds nobody up, and no size exhausts the memory.
package smallfile

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Max is more than any file that this product writes, but its programs, logs
// and ledger: a bundle of roots has a quarter of a megabyte.
const Max = 16 << 20

var (
	// ErrNotRegular means that the name is a directory's, a pipe's, a
	// socket's or a device's, or of symbolic links in a ring.
	ErrNotRegular = errors.New("not a regular file")
	// ErrTooLarge means that the file is larger than it may be.
	ErrTooLarge = errors.New("file too large")
)

// Read reads a regular file of at most limit bytes. A symbolic link is
// followed: where a file lies is its owner's affair.
func Read(path string, limit int) ([]byte, error) {
	// Without O_NONBLOCK the open of a pipe waits for its other end.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("read %s: %w: %w", path, ErrNotRegular, err)
	case err != nil:
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: %w", path, ErrNotRegular)
	}
	// It may grow while it is read.
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err == nil && len(data) > limit {
		err = fmt.Errorf("read %s: %w: more than %d bytes", path, ErrTooLarge, limit)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}
