package agents

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
	"github.com/haltonlabs/halton-meter/internal/atomicfile"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
)

// shellFilesNote lists the start-up files that have got our line: a later
// command may run in an environment that names others, of another shell or
// without its ZDOTDIR.
func (p Paths) shellFilesNote() string { return p.In("shell-files.json") }

// ShellFiles are the start-up files that have our line or may get it: those of
// the shells that the environment tells of, and those that got it before.
func ShellFiles(p Paths, getenv func(string) string) []shellenv.RCFile {
	shells := shellenv.Shells{
		Home: p.Home, Shell: getenv("SHELL"), Program: p.Program(), Login: runtime.GOOS == "darwin", Getenv: getenv,
	}
	if p.State != DefaultState(p.Home) {
		shells.State = p.State
	}
	files := shells.Files()
	for _, path := range readShellFiles(p) {
		if !slices.ContainsFunc(files, func(f shellenv.RCFile) bool { return f.Path == path }) {
			files = append(files, shells.File(path))
		}
	}
	return files
}

// LeavesShellFilesAlone reports whether an installation was told to. Whoever
// upgrades need not say it again.
func LeavesShellFilesAlone(p Paths) bool {
	_, err := os.Stat(p.shellFilesNote())
	return err == nil && len(readShellFiles(p)) == 0
}

// readShellFiles reads the note. Without one that can be read, the
// environment's files are all that is known.
func readShellFiles(p Paths) []string {
	var paths []string
	data, err := smallfile.Read(p.shellFilesNote(), smallfile.Max)
	if err != nil || json.Unmarshal(data, &paths) != nil {
		return nil
	}
	return slices.DeleteFunc(paths, func(path string) bool { return !filepath.IsAbs(path) })
}

// noteShellFiles is done before the files are written: what has our line must
// be known.
func noteShellFiles(p Paths, files []shellenv.RCFile) error {
	paths := []string{}
	for _, f := range files {
		paths = append(paths, f.Path)
	}
	data, err := json.Marshal(paths)
	if err == nil {
		err = atomicfile.Write(p.shellFilesNote(), append(data, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("note the shell files: %w", err)
	}
	return nil
}
