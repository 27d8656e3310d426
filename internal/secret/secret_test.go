package secret_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/haltonlabs/halton-meter/internal/secret"
)

func TestSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := secret.Ensure(path); err != nil {
		t.Fatal(err)
	}
	first, err := secret.Read(path)
	if err != nil || len(first) != 32 {
		t.Fatalf("got %d bytes, %v", len(first), err)
	}
	if err := secret.Ensure(path); err != nil {
		t.Fatal(err)
	}
	if second, _ := secret.Read(path); string(second) != string(first) {
		t.Error("a second init made another key")
	}
	tests := map[string]struct {
		spoil func() error
		want  string
	}{
		"others can read it": {func() error { return os.Chmod(path, 0o640) }, "mode 0640"},
		"damaged": {func() error {
			os.Remove(path)
			return os.WriteFile(path, []byte("abc\n"), 0o600)
		}, "damaged"},
		"a FIFO": {func() error {
			os.Remove(path)
			return syscall.Mkfifo(path, 0o600)
		}, "no regular file"},
		"a link": {func() error {
			os.Remove(path)
			return os.Symlink("/etc/passwd", path)
		}, "read secret"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			os.Remove(path)
			if err := secret.Ensure(path); err != nil {
				t.Fatal(err)
			}
			if err := tt.spoil(); err != nil {
				t.Fatal(err)
			}
			if _, err := secret.Read(path); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			if err := secret.Ensure(path); err == nil {
				t.Error("init did not complain")
			}
		})
	}
}
