// Package atomicfile replaces a file whole or not at all.
package atomicfile

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Write replaces the file at path with data and the permission bits perm
// (exactly, whatever the umask is). A reader sees the old content or the new,
// never a part, also after a crash: the data is synced before it gets the
// name, and the directory after. A symbolic link at path is replaced, not
// followed.
func Write(path string, data []byte, perm fs.FileMode) error {
	return write(path, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// Copy is Write with the content of the file at from.
func Copy(path, from string, perm fs.FileMode) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	return write(path, perm, func(w io.Writer) error {
		_, err := io.Copy(w, src)
		return err
	})
}

func write(path string, perm fs.FileMode, fill func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	// CreateTemp opens with O_EXCL and 0600, so nobody can have put a link or
	// a readable file in its place. Its suffix must fit NAME_MAX (255) too.
	base := filepath.Base(path)
	tmp, err := os.CreateTemp(dir, "."+base[:min(len(base), 200)]+".*")
	if err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
			err = fmt.Errorf("replace %s: %w", path, err)
		}
	}()
	if err := fill(tmp); err != nil {
		return err
	}
	if err := tmp.Chmod(perm); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
