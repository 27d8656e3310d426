package attribution

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxFile bounds the files that are read: each is a few lines.
const maxFile = 64 << 10

// FromDir names a project after the directory itself, "" for none.
func FromDir(dir string) string {
	if !filepath.IsAbs(dir) {
		return ""
	}
	return slugify(filepath.Base(dir))
}

// FromRCFile returns the project that the nearest .haltonrc names, in dir or
// above it. A file that names none is passed over; one that cannot be read or
// parsed ends the search, because going on would put the work under it on a
// project that its owner did not mean.
func FromRCFile(dir string) string {
	for d := range upward(dir) {
		data, err := readSmall(filepath.Join(d, ".haltonrc"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return ""
		}
		rc, err := ParseRC(data)
		if err != nil {
			return ""
		}
		if rc.Project != "" {
			return rc.Project
		}
	}
	return ""
}

// FromGit names a project after the git repository that holds dir: after the
// main one if dir is in a linked worktree, so that the work on all branches is
// one project; after the submodule if it is in one. The layout is that of
// gitrepository-layout(5).
func FromGit(dir string) string {
	for d := range upward(dir) {
		dotGit := filepath.Join(d, ".git")
		info, err := os.Stat(dotGit)
		switch {
		case err != nil:
			continue
		case info.IsDir():
			if isRepository(dotGit) {
				return slugify(filepath.Base(d))
			}
		case info.Mode().IsRegular():
			if gitDir := gitFile(dotGit); isRepository(gitDir) {
				return slugify(mainName(gitDir, d))
			}
		}
	}
	return ""
}

// isRepository tells a repository from a stray directory called .git.
func isRepository(gitDir string) bool {
	_, err := os.Lstat(filepath.Join(gitDir, "HEAD"))
	return gitDir != "" && err == nil
}

// gitFile returns the directory that a .git file points at.
func gitFile(path string) string {
	data, err := readSmall(path)
	if err != nil {
		return ""
	}
	target, ok := strings.CutPrefix(firstLine(data), "gitdir: ")
	if !ok || target == "" {
		return ""
	}
	return from(filepath.Dir(path), target)
}

// mainName returns the name of the repository of which gitDir is a part. Only
// a linked worktree has a commondir file.
func mainName(gitDir, root string) string {
	data, err := readSmall(filepath.Join(gitDir, "commondir"))
	if err != nil || firstLine(data) == "" {
		return filepath.Base(root)
	}
	common := from(gitDir, firstLine(data))
	if filepath.Base(common) == ".git" {
		return filepath.Base(filepath.Dir(common))
	}
	// A worktree of a bare repository, "project.git".
	return strings.TrimSuffix(filepath.Base(common), ".git")
}

// from is path as seen from dir.
func from(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

func firstLine(data []byte) string {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return strings.TrimRight(string(line), "\r")
}

// upward yields dir and the directories above it. A relative path has none: it
// would depend on where this process runs.
func upward(dir string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		if !filepath.IsAbs(dir) {
			return
		}
		for d := filepath.Clean(dir); yield(d); d = filepath.Dir(d) {
			if d == filepath.Dir(d) {
				return
			}
		}
	}
}

var errNotRegular = errors.New("not a regular file")

var errLarge = errors.New("larger than 64 KiB")

// readSmall reads a regular file. Opening without blocking keeps a FIFO of
// that name from holding up the caller.
func readSmall(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = errLarge
	}
	return data, err
}
