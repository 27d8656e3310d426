package attribution

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// maxPath is the length of the longest path that Linux takes (PATH_MAX);
	// macOS takes less.
	maxPath = 4096
	// maxLinks bounds the symbolic links in a path, as the kernel does (ELOOP).
	maxLinks = 40
)

// checkStated returns the directory that the path leads to, without symbolic
// links, if it is one that the client may be believed to work in: it is there,
// it is this user's, and on the way to it is no file system that does
// something when a name is looked up in it, such as an automounter, which
// would call a server that the request names.
//
// The path is gone along name by name, and each directory's file system is
// known before a name is looked up in it.
func checkStated(path string) (dir string, ok bool) {
	if len(path) > maxPath || !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
		return "", false
	}
	dir, rest, links := "/", path, 0
	for {
		if rest = strings.TrimLeft(rest, "/"); rest == "" {
			break
		}
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		switch name {
		case ".":
			continue
		case "..":
			dir = filepath.Dir(dir)
			continue
		}
		if !ordinary(dir) {
			return "", false
		}
		next := filepath.Join(dir, name)
		info, err := os.Lstat(next)
		switch {
		case err != nil:
			return "", false
		case info.IsDir():
			dir = next
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(next)
			if links++; err != nil || links > maxLinks || len(target)+len(rest) > maxPath {
				return "", false
			}
			if filepath.IsAbs(target) {
				dir = "/"
			}
			rest = target + "/" + rest
		default:
			return "", false
		}
	}
	if dir == "/" || !ordinary(dir) {
		return "", false
	}
	var st unix.Stat_t
	if unix.Lstat(dir, &st) != nil || int(st.Uid) != os.Geteuid() {
		return "", false
	}
	return dir, true
}
