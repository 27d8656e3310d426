package shellenv

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/haltonlabs/halton-meter/internal/atomicfile"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
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
	// foldersMark is that for a file whose folders had to be made too: they go
	// with it. The number is how many.
	foldersMark = "# >>> halton-meter (created with %d folders) >>>"
)

// manyFolders is more than any shell's file lies deep.
const manyFolders = 8

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
	switch folders, created := createdWith(block); {
	case open || bytes.HasPrefix(block, []byte(joinedMark)):
		mark = joinedMark
	case old == nil:
		mark = createdMarkFor(missingFolders(f.Path))
	case created:
		mark = createdMarkFor(folders)
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
	if errors.Is(err, smallfile.ErrNotRegular) {
		return false, nil // a folder or a pipe, with no block of ours
	}
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
	// A file that was copied together may have it more than once.
	for {
		before, more, after, err := split(rest)
		if err != nil || more == nil {
			break
		}
		rest = append(bytes.Clone(before), after...)
	}
	folders, created := createdWith(block)
	if len(rest) > 0 || !f.Owned && !created {
		return true, f.write(rest, mode)
	}
	if err := os.Remove(f.Path); err != nil {
		return true, err
	}
	// One that somebody else has put a file into stays.
	for dir := filepath.Dir(f.Path); folders > 0 && os.Remove(dir) == nil; folders-- {
		dir = filepath.Dir(dir)
	}
	return true, nil
}

// missingFolders is how many folders above path there are none of.
func missingFolders(path string) int {
	n := 0
	for dir := filepath.Dir(path); n < manyFolders && !there(dir); n++ {
		dir = filepath.Dir(dir)
	}
	return n
}

func createdMarkFor(folders int) string {
	if folders == 0 {
		return createdMark
	}
	return fmt.Sprintf(foldersMark, folders)
}

// createdWith reports whether the block's file came with it, and how many
// folders did.
func createdWith(block []byte) (folders int, created bool) {
	for n := range manyFolders + 1 {
		if line(block, createdMarkFor(n)) == 0 {
			return n, true
		}
	}
	return 0, false
}

// Installed reports whether the file has our block, and whether it says Line.
func (f RCFile) Installed() (there, current bool, err error) {
	data, _, err := f.read()
	if errors.Is(err, smallfile.ErrNotRegular) {
		return false, false, nil
	}
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
	data, err := smallfile.Read(f.Path, smallfile.Max)
	if data == nil {
		data = []byte{}
	}
	return data, st.Mode().Perm(), err
}

// write replaces the file. Of a symbolic link, as those who keep their files
// in a repository have, it replaces what the link points to.
func (f RCFile) write(data []byte, mode fs.FileMode) error {
	path, err := filepath.EvalSymlinks(f.Path)
	if _, linked := os.Readlink(f.Path); errors.Is(err, fs.ErrNotExist) && linked != nil {
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
	for n := 0; begin < 0 && n <= manyFolders; n++ {
		begin = line(data, createdMarkFor(n))
	}
	end := line(data, endMark)
	switch {
	case begin < 0 && end < 0:
		return data, nil, nil, nil
	case begin < 0 || end < begin:
		return nil, nil, nil, ErrBrokenBlock
	}
	stop := len(data)
	if n := bytes.IndexByte(data[end:], '\n'); n >= 0 {
		stop = end + n + 1
	}
	before, block, after = data[:begin], data[begin:stop], data[stop:]
	// Only where nothing was added behind the block does the file end again
	// without a line break.
	if joined && len(after) == 0 {
		before = bytes.TrimSuffix(before, []byte("\n"))
	}
	return before, block, after, nil
}

// line is where a line that is exactly mark begins, -1 if none does. An editor
// may have given the file's lines other ends.
func line(data []byte, mark string) int {
	for at := 0; at < len(data); {
		end := bytes.IndexByte(data[at:], '\n')
		if end < 0 {
			end = len(data) - at
		}
		if string(bytes.TrimSuffix(data[at:at+end], []byte("\r"))) == mark {
			return at
		}
		at += end + 1
	}
	return -1
}
