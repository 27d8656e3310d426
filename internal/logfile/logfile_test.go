package logfile_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/haltonlabs/halton-meter/internal/logfile"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, l *logfile.File, line string) {
	t.Helper()
	if n, err := l.Write([]byte(line)); err != nil || n != len(line) {
		t.Fatalf("Write = %d, %v", n, err)
	}
}

func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.err.log")
	opened := 0
	l := &logfile.File{Path: path, MaxBytes: 10, Opened: func(*os.File) { opened++ }}
	if err := l.Open(); err != nil {
		t.Fatal(err)
	}
	for i := range 7 {
		write(t, l, fmt.Sprintf("line%d", i)) // two a file
	}
	for name, want := range map[string]string{"": "line6", ".1": "line4line5", ".2": "line2line3"} {
		if got := read(t, path+name); got != want {
			t.Errorf("%s holds %q, want %q", filepath.Base(path)+name, got, want)
		}
	}
	if _, err := os.Stat(path + ".3"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a third old file: %v", err)
	}
	if opened != 4 {
		t.Errorf("opened %d files, want 4", opened)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	// What an earlier process left counts.
	again := &logfile.File{Path: path, MaxBytes: 10}
	write(t, again, "seventh")
	if got := read(t, path+".1"); got != "line6" {
		t.Errorf("the old file holds %q", got)
	}
}

func TestALineLargerThanTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.err.log")
	l := &logfile.File{Path: path, MaxBytes: 10}
	long := strings.Repeat("x", 100)
	write(t, l, long)
	if got := read(t, path); got != long {
		t.Errorf("it holds %q", got)
	}
}

// Another process renamed the log, or somebody removed it.
func TestTheNameIsAnothers(t *testing.T) {
	for _, newName := range []string{"", "moved"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "x.err.log")
		l := &logfile.File{Path: path, MaxBytes: 10}
		write(t, l, "line0line1")
		if newName == "" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		} else {
			if err := os.Rename(path, filepath.Join(dir, newName)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("other"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(t, l, "line2")
		if got := read(t, path); !strings.HasSuffix(got, "line2") {
			t.Errorf("after %q it holds %q", newName, got)
		}
		if _, err := os.Stat(path + ".1"); err == nil {
			t.Errorf("after %q the file of another was renamed", newName)
		}
	}
}

// Where it cannot be renamed, it starts over.
func TestNoRename(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.err.log")
	if err := os.MkdirAll(path+".1/in the way", 0o700); err != nil {
		t.Fatal(err)
	}
	l := &logfile.File{Path: path, MaxBytes: 10, Keep: 1}
	for i := range 9 {
		write(t, l, fmt.Sprintf("line%d", i))
	}
	if got := read(t, path); got != "line8" {
		t.Errorf("it holds %q", got)
	}
}

func TestFullDisk(t *testing.T) {
	l := &logfile.File{Path: "/dev/full"}
	if _, err := os.Stat(l.Path); err != nil {
		// macOS has no such device; a directory cannot be written either.
		l.Path = t.TempDir()
	}
	if _, err := l.Write([]byte("lost")); err == nil {
		t.Error("a write succeeded")
	} else if l.Path == "/dev/full" && !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Write = %v, want ENOSPC", err)
	}
}

func TestManyWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.err.log")
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			l := &logfile.File{Path: path, MaxBytes: 1 << 20}
			for i := range 100 {
				if _, err := l.Write(fmt.Appendf(nil, "%d %d\n", w, i)); err != nil {
					t.Error(err)
				}
			}
			l.Close()
		})
	}
	all.Wait()
	if n := strings.Count(read(t, path), "\n"); n != 400 {
		t.Errorf("%d lines, want 400", n)
	}
}

func ExampleFile() {
	dir, err := os.MkdirTemp("", "log")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	l := &logfile.File{Path: filepath.Join(dir, "daemon.err.log"), MaxBytes: 100, Keep: 1}
	defer l.Close()
	log := slog.New(slog.NewTextHandler(l, nil))
	for range 3 {
		log.Info("daemon.heartbeat")
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		fmt.Println(filepath.Base(f))
	}
	// Output:
	// daemon.err.log
	// daemon.err.log.1
}

// A pipe under the log's name holds nobody up.
func TestAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe.log")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (&logfile.File{Path: path}).Open(); err == nil {
		t.Error("it is a log, with no reader")
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := (&logfile.File{Path: path}).Open(); err == nil {
		t.Error("it is a log, with a reader")
	}
}
