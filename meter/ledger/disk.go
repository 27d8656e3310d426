package ledger

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// disk is what the journal needs of a file system. Tests fill it up.
type disk struct {
	// create makes the file at path, which must not exist.
	create func(path string) (journalFile, error)
	// open opens a file that is there, for writing.
	open func(path string) (journalFile, error)
	// allocate makes a file of size zero bytes at path, which must not exist,
	// and has the file system keep room for all of them.
	allocate func(path string, size int64) error
	// rename gives a file a name that is free.
	rename func(from, to string) error
	remove func(path string) error
	// free returns how many bytes an ordinary user can still write.
	free func(dir string) (uint64, error)
}

// journalFile is the part of *os.File that the journal uses.
type journalFile interface {
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error
	Stat() (fs.FileInfo, error)
}

func realDisk() disk {
	return disk{
		create: func(path string) (journalFile, error) {
			return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		},
		open: func(path string) (journalFile, error) {
			return os.OpenFile(path, os.O_WRONLY, 0)
		},
		allocate: allocate,
		rename:   renameTo,
		remove:   os.Remove,
		free: func(dir string) (uint64, error) {
			var st unix.Statfs_t
			if err := unix.Statfs(dir, &st); err != nil {
				return 0, err
			}
			return st.Bavail * uint64(st.Bsize), nil
		},
	}
}

// renameTo renames only to a name that is free, as far as one can tell: a
// second writer, which the lock should have kept away, takes other numbers.
func renameTo(from, to string) error {
	if exists(to) {
		return fmt.Errorf("rename %s to %s: %w", from, to, fs.ErrExist)
	}
	return os.Rename(from, to)
}

func allocate(path string, size int64) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	err = preallocate(f, size)
	if err == nil || noSpace(err) {
		return err
	}
	// Not every file system can. Written zeros are room too, unless it copies
	// on write, and then no more can be had.
	_, err = f.WriteAt(make([]byte, size), 0)
	return err
}

func noSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}
