// Package logfile is a log file that stays small: when it has its size, it is
// renamed and another one takes its name.
//
//	log := &logfile.File{Path: "/home/me/daemon.err.log"}
//	err := log.Open()
//	logger := slog.New(slog.NewJSONHandler(log, nil))
//
// Beside daemon.err.log there are then daemon.err.log.1, the newest of the old
// ones, and so on. Whatever is wrong with the disk, Write returns; what it
// could not write is lost.
//
// It does not compress, and does not date its files. Two processes may write
// to one log: each notices when the other has renamed it.
package logfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// The sizes that zero stands for.
const (
	DefaultMaxBytes = 8 << 20
	DefaultKeep     = 2
)

// File is a log file. Its methods may be called from any goroutine.
type File struct {
	// Path names the log.
	Path string
	// MaxBytes is the size at which it is renamed; zero is DefaultMaxBytes.
	MaxBytes int64
	// Keep is how many old ones are kept; zero is DefaultKeep.
	Keep int
	// Opened, if not nil, is called with each file that takes the name, such
	// as for debug.SetCrashOutput. The file stays the log's.
	Opened func(*os.File)

	mu   sync.Mutex
	file *os.File
	size int64
}

// Open opens the log, or makes it.
func (l *File) Open() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open()
}

// Close closes the log; a later Write opens it again.
func (l *File) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// Write appends p, whole in one file.
func (l *File) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		if err := l.open(); err != nil {
			return 0, err
		}
	}
	if limit := orDefault(l.MaxBytes, DefaultMaxBytes); l.size > 0 && l.size+int64(len(p)) > limit {
		l.rotate()
	}
	n, err := l.file.Write(p)
	l.size += int64(n)
	return n, err
}

// open opens what has the name now. The file that was open stays so if that
// fails.
func (l *File) open() error {
	// A pipe of that name would hold the program up until somebody reads it.
	f, err := os.OpenFile(l.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	st, err := f.Stat()
	if err == nil && st.Mode()&fs.ModeNamedPipe != 0 {
		err = fmt.Errorf("%s is a pipe", l.Path)
	}
	if err != nil {
		return fmt.Errorf("open log: %w", errors.Join(err, f.Close()))
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.size = f, st.Size()
	if l.Opened != nil {
		l.Opened(f)
	}
	return nil
}

// rotate gives the full file another name and opens a new one.
func (l *File) rotate() {
	if l.named() {
		for i := orDefault(l.Keep, DefaultKeep); i > 1; i-- {
			// The first time there are none to move.
			_ = os.Rename(l.old(i-1), l.old(i))
		}
		if err := os.Rename(l.Path, l.old(1)); err != nil {
			// It must stay small all the same.
			if l.file.Truncate(0) == nil {
				l.size = 0
			}
			return
		}
	}
	// If this fails, the next Write tries it again.
	_ = l.open()
}

func (l *File) old(i int) string { return fmt.Sprintf("%s.%d", l.Path, i) }

// named reports whether the open file still has its name.
func (l *File) named() bool {
	now, err := os.Stat(l.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	mine, mineErr := l.file.Stat()
	return err == nil && mineErr == nil && os.SameFile(now, mine)
}

func orDefault[N int | int64](n, zero N) N {
	if n == 0 {
		return zero
	}
	return n
}
