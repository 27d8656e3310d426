package agents

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// SameProgram reports whether the file at b is there and equals the one at a.
// Programs are large: they are compared piece by piece.
func SameProgram(a, b string) (bool, error) {
	one, size, err := openProgram(a)
	if err != nil {
		return false, err
	}
	defer one.Close()
	other, otherSize, err := openProgram(b)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer other.Close()
	if size != otherSize {
		return false, nil
	}
	const piece = 64 << 10
	p, q := make([]byte, piece), make([]byte, piece)
	for {
		n, err := io.ReadFull(one, p)
		m, otherErr := io.ReadFull(other, q)
		if !bytes.Equal(p[:n], q[:m]) {
			return false, nil
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return true, nil
		}
		if err = errors.Join(err, otherErr); err != nil {
			return false, fmt.Errorf("compare programs: %w", err)
		}
	}
}

func openProgram(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}
