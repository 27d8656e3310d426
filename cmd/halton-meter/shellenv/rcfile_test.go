package shellenv_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestTheBlockComesAndGoes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "rc")
	f := shellenv.RCFile{Path: path, Line: "eval it"}
	for name, text := range map[string]string{
		"empty": "", "lines": "a\nb\n", "no end of line": "a\nb", "blank lines": "\n\n", "other line ends": "a\r\nb\r\n",
	} {
		write(t, path, text)
		if changed, err := f.Install(); err != nil || !changed {
			t.Fatalf("%s: %v, %v", name, changed, err)
		}
		with := read(t, path)
		if !strings.HasPrefix(with, text) || strings.Count(with, "\neval it\n") != 1 {
			t.Errorf("%s: installed %q", name, with)
		}
		if there, current, err := f.Installed(); !there || !current || err != nil {
			t.Errorf("%s: installed %v, current %v, %v", name, there, current, err)
		}
		if changed, err := f.Install(); err != nil || changed {
			t.Errorf("%s: again: %v, %v", name, changed, err)
		}
		if changed, err := f.Remove(); err != nil || !changed {
			t.Errorf("%s: %v, %v", name, changed, err)
		}
		if diff := cmp.Diff(text, read(t, path)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if changed, err := f.Remove(); err != nil || changed {
			t.Errorf("%s: removed twice: %v, %v", name, changed, err)
		}
	}
}

// What the user writes around the block stays, and an older block is replaced
// where it stands.
func TestTheUsersLinesStay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		path := filepath.Join(t.TempDir(), "rc")
		text := rapid.SampledFrom([]string{"", "x", "x\n", "x\ny"}).Draw(r, "before")
		after := rapid.SampledFrom([]string{"", "z", "z\n", "\n"}).Draw(r, "after")
		write(t, path, text)
		if _, err := (shellenv.RCFile{Path: path, Line: "old"}).Install(); err != nil {
			r.Fatal(err)
		}
		write(t, path, read(t, path)+after)
		f := shellenv.RCFile{Path: path, Line: "new"}
		for range 2 {
			if _, err := f.Install(); err != nil {
				r.Fatal(err)
			}
		}
		with := read(t, path)
		if strings.Contains(with, "old") || strings.Count(with, "new") != 1 || !strings.HasSuffix(with, after) {
			r.Fatalf("%q", with)
		}
		if _, err := f.Remove(); err != nil {
			r.Fatal(err)
		}
		want := text + after
		if after != "" && text != "" && !strings.HasSuffix(text, "\n") {
			want = text + "\n" + after // two lines must not become one
		}
		if got := read(t, path); got != want {
			r.Fatalf("%q, want %q", got, want)
		}
	})
}

func TestHalfABlockIsNotTouched(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "rc")
	for _, text := range []string{
		"a\n# >>> halton-meter >>>\nb\n", "a\n# <<< halton-meter <<<\n",
		"# <<< halton-meter <<<\n# >>> halton-meter >>>\n",
	} {
		write(t, path, text)
		f := shellenv.RCFile{Path: path, Line: "eval it"}
		_, err := f.Install()
		_, err2 := f.Remove()
		if !errors.Is(err, shellenv.ErrBrokenBlock) || !errors.Is(err2, shellenv.ErrBrokenBlock) {
			t.Errorf("%q: %v, %v", text, err, err2)
		}
		if got := read(t, path); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestALinkedFileStaysALink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	real, link := filepath.Join(dir, "dotfiles"), filepath.Join(dir, ".zshrc")
	write(t, real, "a\n")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	f := shellenv.RCFile{Path: link, Line: "eval it"}
	if _, err := f.Install(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(read(t, real), "eval it") {
		t.Error("the link's target has no block")
	}
	if st, err := os.Lstat(link); err != nil || st.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v", err)
	}
}

func TestWhichFiles(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	login := false
	names := func(shell string, env map[string]string) []string {
		var list []string
		shells := shellenv.Shells{
			Home: home, Shell: shell, Program: "/p/halton-meter", Login: login, Getenv: func(n string) string { return env[n] },
		}
		for _, f := range shells.Files() {
			rel, _ := filepath.Rel(home, f.Path)
			list = append(list, rel)
		}
		return list
	}
	if diff := cmp.Diff([]string{".zshrc"}, names("/bin/zsh", nil)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"zd/.zshrc"}, names("/bin/zsh", map[string]string{"ZDOTDIR": filepath.Join(home, "zd")})); diff != "" {
		t.Error(diff)
	}
	login = true
	if diff := cmp.Diff([]string{".bashrc", ".bash_profile"}, names("/bin/bash", nil)); diff != "" {
		t.Errorf("login shells: %s", diff)
	}
	write(t, filepath.Join(home, ".profile"), "")
	if diff := cmp.Diff([]string{".zshrc", ".profile"}, names("/bin/zsh", nil)); diff != "" {
		t.Errorf("login shells with .profile: %s", diff)
	}
	login = false
	if diff := cmp.Diff([]string{".bashrc"}, names("/bin/bash", nil)); diff != "" {
		t.Errorf(".profile of a desktop session: %s", diff)
	}
	write(t, filepath.Join(home, ".bash_profile"), "")
	if diff := cmp.Diff([]string{".bash_profile", ".config/fish/conf.d/halton-meter.fish"}, names("/usr/bin/fish", nil)); diff != "" {
		t.Error(diff)
	}
	if got := names("", nil); len(got) != 1 {
		t.Errorf("no shell: %q", got)
	}
}

// A file that there was none of is gone again, unless somebody wrote into it.
func TestAFileThatWasNotThere(t *testing.T) {
	t.Parallel()
	f := shellenv.RCFile{Path: filepath.Join(t.TempDir(), ".bashrc"), Line: "x"}
	for _, users := range []string{"", "a=1\n"} {
		for range 2 {
			if _, err := f.Install(); err != nil {
				t.Fatal(err)
			}
		}
		if users != "" {
			write(t, f.Path, read(t, f.Path)+users)
		}
		if _, err := f.Remove(); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(f.Path)
		if users == "" && !errors.Is(err, os.ErrNotExist) || users != "" && string(data) != users {
			t.Errorf("left %q, %v; want %q", data, err, users)
		}
	}
}

// A file of our own goes, and so do the folders that were made for it: one that
// was there before stays, and one into which somebody else has put a file.
func TestAFileOfOurOwnGoes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, meanwhile, left string }{
		"no folder": {left: ""},
		"a folder":  {before: ".config", left: ".config"},
		"theirs":    {meanwhile: ".config/fish/config.fish", left: ".config/fish/config.fish"},
	} {
		home := t.TempDir()
		if err := os.MkdirAll(filepath.Join(home, c.before), 0o700); err != nil {
			t.Fatal(err)
		}
		f := shellenv.RCFile{Path: filepath.Join(home, ".config", "fish", "conf.d", "halton-meter.fish"), Line: "x", Owned: true}
		for _, line := range []string{"x", "y"} {
			f.Line = line
			if _, err := f.Install(); err != nil {
				t.Fatal(err)
			}
		}
		if c.meanwhile != "" {
			write(t, filepath.Join(home, c.meanwhile), "")
		}
		if _, err := f.Remove(); err != nil {
			t.Fatal(err)
		}
		last := ""
		err := filepath.WalkDir(home, func(path string, _ os.DirEntry, err error) error {
			if path != home {
				last, _ = filepath.Rel(home, path)
			}
			return err
		})
		if err != nil || last != c.left {
			t.Errorf("%s: left %q, %v; want %q", name, last, err, c.left)
		}
	}
}

// An editor that gives all lines other ends does not make our block a stranger.
func TestABlockWithOtherLineEnds(t *testing.T) {
	t.Parallel()
	f := shellenv.RCFile{Path: filepath.Join(t.TempDir(), "rc"), Line: "x"}
	write(t, f.Path, "a\n")
	if _, err := f.Install(); err != nil {
		t.Fatal(err)
	}
	write(t, f.Path, strings.ReplaceAll(read(t, f.Path)+"b\n", "\n", "\r\n"))
	if _, err := f.Install(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, f.Path); strings.Count(got, "halton-meter >>>") != 1 || !strings.Contains(got, "\nx\n") {
		t.Errorf("again: %q", got)
	}
	if _, err := f.Remove(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, f.Path); got != "a\r\nb\r\n" {
		t.Errorf("removed: %q", got)
	}
}

// A link whose target is elsewhere today is not made a file.
func TestALinkToNothingStaysALink(t *testing.T) {
	t.Parallel()
	f := shellenv.RCFile{Path: filepath.Join(t.TempDir(), ".zshrc"), Line: "x"}
	if err := os.Symlink("dotfiles/zshrc", f.Path); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Install(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Install: %v", err)
	}
	if to, err := os.Readlink(f.Path); err != nil || to != "dotfiles/zshrc" {
		t.Errorf("it became %q, %v", to, err)
	}
}

// A folder or a pipe in a file's place holds nothing of ours, and cannot.
func TestAnOddFile(t *testing.T) {
	t.Parallel()
	folder, pipe := filepath.Join(t.TempDir(), ".bashrc"), filepath.Join(t.TempDir(), ".zshrc")
	if err := errors.Join(os.Mkdir(folder, 0o700), syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{folder, pipe} {
		f := shellenv.RCFile{Path: path, Line: "x"}
		if _, err := f.Install(); !errors.Is(err, smallfile.ErrNotRegular) {
			t.Errorf("%s: Install: %v", path, err)
		}
		if there, _, err := f.Installed(); there || err != nil {
			t.Errorf("%s: Installed: %v, %v", path, there, err)
		}
		if changed, err := f.Remove(); changed || err != nil {
			t.Errorf("%s: Remove: %v, %v", path, changed, err)
		}
	}
}
