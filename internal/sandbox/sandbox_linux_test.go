package sandbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestOnTmpfs(t *testing.T) {
	OnTmpfs(t, "size=1m", func(disk string) {
		path := filepath.Join(t.TempDir(), "file")
		empty := Fill(t, disk)
		if err := os.WriteFile(path, []byte("text"), 0o600); err == nil {
			t.Error("there is room on a full disk")
		}
		empty()
		if err := os.WriteFile(path, []byte("text"), 0o600); err != nil {
			t.Error(err)
		}
	})
}

func TestAsUser(t *testing.T) {
	AsUser(t, func() {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte("text"), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := os.ReadFile(path); !errors.Is(err, fs.ErrPermission) || os.Getuid() == 0 {
			t.Errorf("user %d reads it: %v", os.Getuid(), err)
		}
	})
}
