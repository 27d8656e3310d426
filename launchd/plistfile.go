package launchd

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/haltonlabs/halton-meter/internal/atomicfile"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
)

// WriteFile writes the job to path as launchd wants it: a real file, of mode
// 0644, whole or not at all. It refuses a job that has problems, with
// [ErrBadPlist]. A file there that holds the same job, and that launchd would
// accept, is kept; changed reports whether it wrote.
func (j *Job) WriteFile(path string) (changed bool, err error) {
	if err := invalid(j.Validate()); err != nil {
		return false, fmt.Errorf("write %s: %w", path, err)
	}
	data, err := j.Encode()
	if err != nil {
		return false, err
	}
	if holds(path, data) && CheckPlistFile(path, DomainTarget{}) == nil {
		return false, nil
	}
	err = atomicfile.Write(path, data, 0o644)
	return err == nil, err
}

// holds reports whether the file is a plist equal in meaning to encoded.
func holds(path string, encoded []byte) bool {
	have, err := readPlist(path)
	if err != nil {
		return false
	}
	data, err := have.Encode()
	return err == nil && bytes.Equal(data, encoded)
}

// CheckPlistFile tells why launchd would not read the file at path into the
// domain, whatever it holds: it takes regular files of the loading user (or
// root) that nobody else can write, says launchctl(1). The error is an
// [ErrBadPlist], or several that are joined.
func CheckPlistFile(path string, d DomainTarget) error {
	st, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadPlist, err)
	}
	switch {
	case st.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%w: %s is a symbolic link, which launchd ignores at login: put the file itself there", ErrBadPlist, path)
	case !st.Mode().IsRegular():
		return fmt.Errorf("%w: %s is no regular file", ErrBadPlist, path)
	}
	var mode, owner error
	if perm := st.Mode().Perm(); perm&0o022 != 0 {
		mode = fmt.Errorf("%w: %s has mode %04o, so others may write it: chmod go-w", ErrBadPlist, path, perm)
	}
	uid, ok := ownerOf(st)
	if ok && uid != 0 && uid != os.Geteuid() && uid != d.uid() {
		owner = fmt.Errorf("%w: %s belongs to user %d, and user %d loads it into %s: chown it", ErrBadPlist, path, uid, os.Geteuid(), d)
	}
	return errors.Join(mode, owner)
}

func ownerOf(st fs.FileInfo) (uid int, ok bool) {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(sys.Uid), true
}

// uid is the user whose domain it is, or -1.
func (d DomainTarget) uid() int {
	if d.kind == "gui" || d.kind == "user" {
		return d.id
	}
	return -1
}

// readJob reads a plist that launchd is to load.
func readJob(path string) (*Job, error) {
	job, err := readPlist(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadPlist, err)
	}
	return job, nil
}

func readPlist(path string) (*Job, error) {
	data, err := smallfile.Read(path, maxPlistBytes)
	if err != nil {
		return nil, err
	}
	return ParseJob(data)
}
