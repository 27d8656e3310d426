package agents

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// secretBytes is the length of the edge's key and of the API's token.
const secretBytes = 32

// EnsureSecret creates the secret at path (0600, never over another file) if
// there is none.
func EnsureSecret(path string) error {
	if _, err := ReadSecret(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	b := make([]byte, secretBytes)
	rand.Read(b)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("create secret: %w", err)
	}
	if _, err := f.WriteString(hex.EncodeToString(b) + "\n"); err != nil {
		f.Close()
		os.Remove(path)
		return fmt.Errorf("create secret: %w", err)
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return fmt.Errorf("create secret: %w", err)
	}
	return f.Close()
}

// ReadSecret reads a secret, and refuses one that others can read or that is
// another user's: whoever knows it can pose as our daemon.
func ReadSecret(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	if perm := st.Mode().Perm(); perm&0o077 != 0 {
		return "", fmt.Errorf("read secret: %s has mode %04o, so others may know it: remove it and run halton-meter init", path, perm)
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && int(sys.Uid) != os.Geteuid() {
		return "", fmt.Errorf("read secret: %s belongs to user %d: remove it and run halton-meter init", path, sys.Uid)
	}
	b := make([]byte, 256)
	n, err := f.Read(b)
	if err != nil {
		return "", fmt.Errorf("read secret %s: %w", path, err)
	}
	s := strings.TrimSpace(string(b[:n]))
	if key, err := hex.DecodeString(s); err != nil || len(key) != secretBytes {
		return "", fmt.Errorf("read secret: %s is damaged: remove it and run halton-meter init", path)
	}
	return s, nil
}

// ReadKey is ReadSecret, as the bytes that the hexadecimal digits stand for.
func ReadKey(path string) ([]byte, error) {
	s, err := ReadSecret(path)
	if err != nil {
		return nil, err
	}
	return hex.DecodeString(s)
}
