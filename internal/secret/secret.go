// Package secret keeps random secrets in files that only their owner can read.
package secret

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// size is the length of a secret in bytes: 256 bits.
const size = 32

// Secret is random bytes, of which the file holds the hexadecimal digits.
type Secret []byte

// String is the secret as hexadecimal digits.
func (s Secret) String() string { return hex.EncodeToString(s) }

// ErrDamaged means that the file holds no secret.
var ErrDamaged = errors.New("is damaged: remove it and run halton-meter init")

// Ensure creates the secret at path, with mode 0600 and never over another
// file, if there is none. One that is there and cannot be read is an error.
func Ensure(path string) error {
	if _, err := Read(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s := make(Secret, size)
	rand.Read(s)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("create secret: %w", err)
	}
	_, err = f.WriteString(s.String() + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		// Half a secret would have to be removed by hand.
		return fmt.Errorf("create secret: %w", errors.Join(err, os.Remove(path)))
	}
	return nil
}

// Read reads the secret at path. It refuses one that others can read or that
// is another user's, since whoever knows it can pose as us; and what cannot be
// a secret. The errors say what to do.
func Read(path string) (Secret, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read secret: %w: halton-meter init makes it", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	if why := exposed(st); why != "" {
		return nil, fmt.Errorf("read secret: %s %s: remove it and run halton-meter init", path, why)
	}
	b, err := io.ReadAll(io.LimitReader(f, 4*size))
	if err != nil {
		return nil, fmt.Errorf("read secret %s: %w", path, err)
	}
	s, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(s) != size {
		return nil, fmt.Errorf("read secret: %s %w", path, ErrDamaged)
	}
	return s, nil
}

// exposed says how others could know the content of a file, "" if they cannot.
func exposed(st fs.FileInfo) string {
	if !st.Mode().IsRegular() {
		return "is no regular file"
	}
	if perm := st.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Sprintf("has mode %04o, so others may know it", perm)
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && int(sys.Uid) != os.Geteuid() {
		return fmt.Sprintf("belongs to user %d", sys.Uid)
	}
	return ""
}
