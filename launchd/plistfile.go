package launchd

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// checkPlistFile tells why launchd would not read the file at path, whatever
// it holds: it takes regular files of the loading user (or root) that nobody
// else can write, launchctl(1) says.
func checkPlistFile(path string) error {
	st, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadPlist, err)
	}
	switch {
	case st.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%w: %s is a symbolic link, which launchd ignores at login: put the file itself there", ErrBadPlist, path)
	case !st.Mode().IsRegular():
		return fmt.Errorf("%w: %s is no regular file", ErrBadPlist, path)
	case st.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%w: %s has mode %04o, so others may write it: chmod go-w", ErrBadPlist, path, st.Mode().Perm())
	}
	if uid, ok := ownerOf(st); ok && uid != 0 && uid != os.Geteuid() {
		return fmt.Errorf("%w: %s belongs to user %d, and user %d loads it: chown it", ErrBadPlist, path, uid, os.Geteuid())
	}
	return nil
}

func ownerOf(st fs.FileInfo) (uid int, ok bool) {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(sys.Uid), true
}
