package attribution

import (
	"slices"

	"golang.org/x/sys/unix"
)

// notForFiles are the file systems in which nobody works: /net and /home of
// macOS are automounters.
var notForFiles = []string{"autofs", "devfs", "fdesc"}

// ordinary reports whether the directory's file system is one to look up
// names in.
func ordinary(dir string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(dir, &fs) == nil && !slices.Contains(notForFiles, unix.ByteSliceToString(fs.Fstypename[:]))
}
