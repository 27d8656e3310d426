package shellenv_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
)

// Who copies parts of a start-up file may have the block twice.
func TestADoubledBlockGoesWhole(t *testing.T) {
	t.Parallel()
	f := shellenv.RCFile{Path: filepath.Join(t.TempDir(), "rc"), Line: "eval it"}
	write(t, f.Path, "a\n")
	if _, err := f.Install(); err != nil {
		t.Fatal(err)
	}
	block := strings.TrimPrefix(read(t, f.Path), "a\n")
	write(t, f.Path, "a\n"+block+"b\n"+block+"c\n")
	if changed, err := f.Remove(); err != nil || !changed {
		t.Fatal(changed, err)
	}
	if got := read(t, f.Path); got != "a\nb\nc\n" {
		t.Errorf("left: %q", got)
	}
}
