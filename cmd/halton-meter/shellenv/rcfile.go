package shellenv

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/haltonlabs/halton-meter/internal/atomicfile"
)

// The lines between which a shell file's one line of ours stands.
const (
	beginMark = "# >>> halton-meter >>>"
	endMark   = "# <<< halton-meter <<<"
	// joinedMark begins the block in a file whose last line had no end: the
	// line break before the block is ours too, and goes when it goes.
	joinedMark = "# >>> halton-meter (joined) >>>"
	// createdMark begins the block in a file that there was none of, and that
	// goes with the block if nobody has written into it.
	createdMark = "# >>> halton-meter (created) >>>"
)

// ErrBrokenBlock means that one of the two marks is missing, so that nobody
// knows where our line ends and the user's begin.
var ErrBrokenBlock = errors.New("the halton-meter block has a beginning or an end only")

// RCFile is a shell's start-up file.
type RCFile struct {
	Path string
	// Line is what the block says.
	Line string
	// Owned: nobody else writes into the file, which goes when the block does.
	Owned bool
}

// RCFiles are the start-up files of the shells that a user of this home may
// have: each that is there, and the one of the shell in shell (a path, $SHELL)
// even if it is not. program is the halton-meter that the line runs.
func RCFiles(home, shell, program string, getenv func(string) string) []RCFile {
	sh := "[ -x " + Quote(program) + " ] && eval \"$(" + Quote(program) + " env 2>/dev/null)\""
	fish := "test -x " + Quote(program) + "; and " + Quote(program) + " env --shell fish 2>/dev/null | source"
	zdot := getenv("ZDOTDIR")
	if zdot == "" {
		zdot = home
	}
	confDir := getenv("XDG_CONFIG_HOME")
	if confDir == "" {
		confDir = filepath.Join(home, ".config")
	}
	fishDir := filepath.Join(confDir, "fish")
	var files []RCFile
	add := func(name, path, line string) {
		if _, err := os.Stat(path); err == nil || filepath.Base(shell) == name {
			files = append(files, RCFile{Path: path, Line: line})
		}
	}
	add("zsh", filepath.Join(zdot, ".zshrc"), sh)
	add("bash", filepath.Join(home, ".bashrc"), sh)
	// A login bash, which macOS's Terminal starts, reads this one instead.
	add("", filepath.Join(home, ".bash_profile"), sh)
	if _, err := os.Stat(fishDir); err == nil || filepath.Base(shell) == "fish" {
		files = append(files, RCFile{Path: filepath.Join(fishDir, "conf.d", "halton-meter.fish"), Line: fish, Owned: true})
	}
	return files
}

// Install puts the block into the file, in place of an older one, and tells
// whether it had to write. All else in the file stays as it is, byte by byte.
func (f RCFile) Install() (changed bool, err error) {
	old, mode, err := f.read()
	if err != nil {
		return false, err
	}
	before, block, after, err := split(old)
	if err != nil {
		return false, fmt.Errorf("write %s: %w", f.Path, err)
	}
	open := len(before) > 0 && !bytes.HasSuffix(before, []byte("\n"))
	mark, gap := beginMark, ""
	switch {
	case open || bytes.HasPrefix(block, []byte(joinedMark)):
		mark = joinedMark
	case old == nil || bytes.HasPrefix(block, []byte(createdMark)):
		mark = createdMark
	}
	if open {
		gap = "\n"
	}
	fresh := bytes.Join([][]byte{before, []byte(gap + mark + "\n" + f.Line + "\n" + endMark + "\n"), after}, nil)
	if bytes.Equal(fresh, old) {
		return false, nil
	}
	return true, f.write(fresh, mode)
}

// Remove takes the block out again. The file is then as it was before.
func (f RCFile) Remove() (changed bool, err error) {
	old, mode, err := f.read()
	if err != nil {
		return false, err
	}
	before, block, after, err := split(old)
	if err != nil {
		return false, fmt.Errorf("write %s: %w", f.Path, err)
	}
	if block == nil {
		return false, nil
	}
	rest := append(bytes.Clone(before), after...)
	if len(rest) == 0 && (f.Owned || bytes.HasPrefix(block, []byte(createdMark))) {
		return true, os.Remove(f.Path)
	}
	return true, f.write(rest, mode)
}

// Installed reports whether the file has our block, and whether it says Line.
func (f RCFile) Installed() (there, current bool, err error) {
	data, _, err := f.read()
	if err != nil {
		return false, false, err
	}
	_, block, _, err := split(data)
	if err != nil {
		return false, false, fmt.Errorf("read %s: %w", f.Path, err)
	}
	return block != nil, bytes.Contains(block, []byte("\n"+f.Line+"\n")), nil
}

// read returns the file's content, nil if there is no file.
func (f RCFile) read() ([]byte, fs.FileMode, error) {
	st, err := os.Stat(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0o644, nil
	}
	if err != nil {
		return nil, 0, err
	}
	data, err := os.ReadFile(f.Path)
	if data == nil {
		data = []byte{}
	}
	return data, st.Mode().Perm(), err
}

// write replaces the file. Of a symbolic link, as those who keep their files
// in a repository have, it replaces what the link points to.
func (f RCFile) write(data []byte, mode fs.FileMode) error {
	path, err := filepath.EvalSymlinks(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		path, err = f.Path, os.MkdirAll(filepath.Dir(f.Path), 0o755) //nolint:gosec // as shells make it
	}
	if err != nil {
		return err
	}
	return atomicfile.Write(path, data, mode)
}

// split finds our block. block is nil if there is none, and else has its marks;
// a line break that came with it is in neither part.
func split(data []byte) (before, block, after []byte, err error) {
	begin, joined := line(data, beginMark), false
	if at := line(data, joinedMark); begin < 0 && at >= 0 {
		begin, joined = at, true
	}
	if begin < 0 {
		begin = line(data, createdMark)
	}
	end := line(data, endMark)
	switch {
	case begin < 0 && end < 0:
		return data, nil, nil, nil
	case begin < 0 || end < begin:
		return nil, nil, nil, ErrBrokenBlock
	}
	stop := min(end+len(endMark)+1, len(data))
	before, block, after = data[:begin], data[begin:stop], data[stop:]
	// Only where nothing was added behind the block does the file end again
	// without a line break.
	if joined && len(after) == 0 {
		before = bytes.TrimSuffix(before, []byte("\n"))
	}
	return before, block, after, nil
}

// line is where a line that is exactly mark begins, -1 if none does.
func line(data []byte, mark string) int {
	for at := 0; at < len(data); {
		end := bytes.IndexByte(data[at:], '\n')
		if end < 0 {
			end = len(data) - at
		}
		if string(data[at:at+end]) == mark {
			return at
		}
		at += end + 1
	}
	return -1
}
