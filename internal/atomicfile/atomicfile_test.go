package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// entries are the names in a directory, so also what was left behind.
func entries(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestWritePermissionsUnderAnyUmask(t *testing.T) {
	// The umask belongs to the process, so nothing here runs in parallel.
	for _, umask := range []int{0, 0o022, 0o077, 0o777} {
		for _, perm := range []fs.FileMode{0o600, 0o644, 0o666, 0o755} {
			path := filepath.Join(t.TempDir(), "f")
			before := unix.Umask(umask)
			err := Write(path, []byte("x"), perm)
			unix.Umask(before)
			if err != nil {
				t.Fatal(err)
			}
			st, err := os.Stat(path)
			if err != nil || st.Mode().Perm() != perm {
				t.Errorf("umask %o: mode %v, want %v", umask, st.Mode().Perm(), perm)
			}
		}
	}
}

func TestWriteReplaces(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, want := range []string{"first, and long", "second", ""} {
		if err := Write(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := content(t, path); got != want {
			t.Errorf("content %q, want %q", got, want)
		}
	}
	if got := entries(t, dir); got != "f" {
		t.Errorf("left in the directory: %s", got)
	}
}

func TestWriteReplacesSymlink(t *testing.T) {
	dir := t.TempDir()
	target, path := filepath.Join(dir, "target"), filepath.Join(dir, "f")
	if err := os.WriteFile(target, []byte("theirs"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	st, err := os.Lstat(path)
	if err != nil || !st.Mode().IsRegular() {
		t.Errorf("mode %v, %v, want a regular file", st.Mode(), err)
	}
	if content(t, target) != "theirs" || content(t, path) != "ours" {
		t.Errorf("target %q, file %q", content(t, target), content(t, path))
	}
}

// What an earlier crash left beside the file is not in the way.
func TestWriteBesideLeftovers(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, ".f.123456")
	if err := os.WriteFile(left, []byte("half"), 0o400); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "f")
	if err := Write(path, []byte("whole"), 0o600); err != nil {
		t.Fatal(err)
	}
	if content(t, path) != "whole" || content(t, left) != "half" {
		t.Errorf("file %q, leftover %q", content(t, path), content(t, left))
	}
}

func TestFailureLeavesTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := Write(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	full := errors.New("disk full")
	err := write(path, 0o600, func(w io.Writer) error {
		io.WriteString(w, "half of the n")
		return full
	})
	if !errors.Is(err, full) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
	if err := Copy(path, filepath.Join(dir, "none"), 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("copy of nothing: %v", err)
	}
	if err := Copy(path, dir, 0o600); err == nil {
		t.Error("a directory was copied")
	}
	if content(t, path) != "old" || entries(t, dir) != "f" {
		t.Errorf("content %q, directory %s", content(t, path), entries(t, dir))
	}
	if err := Write(filepath.Join(dir, "none", "f"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func TestWriteLongName(t *testing.T) {
	dir := t.TempDir()
	name := strings.Repeat("n", 255) // NAME_MAX on both systems
	if err := Write(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := entries(t, dir); got != name {
		t.Errorf("directory holds %s", got)
	}
}

func TestCopyOverARunningFile(t *testing.T) {
	dir := t.TempDir()
	from, path := filepath.Join(dir, "new"), filepath.Join(dir, "f")
	for p, s := range map[string]string{from: "new", path: "old"} {
		if err := os.WriteFile(p, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	running, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	if err := Copy(path, from, 0o755); err != nil {
		t.Fatal(err)
	}
	old, err := io.ReadAll(running)
	if err != nil || string(old) != "old" || content(t, path) != "new" {
		t.Errorf("open file %q, %v, new file %q", old, err, content(t, path))
	}
	if err := Copy(path, path, 0o755); err != nil || content(t, path) != "new" {
		t.Errorf("copy to itself: %v, %q", err, content(t, path))
	}
}

// A reader never sees a part, whoever else writes.
func TestReadersSeeWholeFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	versions := []string{strings.Repeat("a", 100_000), strings.Repeat("b", 50_000)}
	if err := Write(path, []byte(versions[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for _, v := range versions {
		wg.Go(func() {
			for range 10 {
				if err := Write(path, []byte(v), 0o600); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		default:
		}
		if got := content(t, path); got != versions[0] && got != versions[1] {
			t.Fatalf("read %d bytes of neither version", len(got))
		}
	}
}
