package manual_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// lines are typed, the last word is to be completed, and each must offer these
// and not those.
var lines = []struct {
	typed       string
	offers, not string
}{
	{"handy-man ", "paint shelf exec", "ghost"},
	{"handy-man pa", "paint", "shelf"},
	{"handy-man paint --", "--colour --dry --no-dry", "--secret"},
	{"handy-man paint --colour ", "red blue", "--dry"},
	{"handy-man paint --colour b", "blue", "red"},
	{"handy-man paint --colour blue --", "--dry", "red"},
	{"handy-man shelf ", "add", "paint"},
	{"handy-man exec tru", "true", "paint"},
	{"handy-man exec -- tru", "true", "paint"},
	{"handy-man exec --as me tru", "true", "paint"},
	{"handy-man exec --as me -- tru", "true", "paint"},
	{"handy-man wire tru", "", "true"},
}

// shell runs a script that sources the completion in $1 and prints what is
// offered for $2, one a line. A shell that is not installed is not tested.
func shell(t *testing.T, completion, script string, argv ...string) {
	t.Helper()
	path, err := exec.LookPath(argv[0])
	if err != nil {
		t.Logf("%s is not installed", argv[0])
		return
	}
	file := filepath.Join(t.TempDir(), "completion")
	if err := os.WriteFile(file, []byte(completion), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		cmd := exec.Command(path, append(argv[1:], script)...)
		cmd.Env = append(os.Environ(), "COMPLETION="+file, "TYPED="+line.typed, "HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", argv[0], err, out)
		}
		var got []string
		for l := range strings.Lines(string(out)) {
			word, _, _ := strings.Cut(strings.TrimSpace(l), "\t") // fish adds descriptions
			word, _, _ = strings.Cut(word, ":")                   // and zsh
			got = append(got, word)
		}
		for want := range strings.FieldsSeq(line.offers) {
			if !slices.Contains(got, want) {
				t.Errorf("%s: %q offers %q, not %s", argv[0], line.typed, got, want)
			}
		}
		for not := range strings.FieldsSeq(line.not) {
			if slices.Contains(got, not) {
				t.Errorf("%s: %q offers %s", argv[0], line.typed, not)
			}
		}
	}
}

func TestBash(t *testing.T) {
	page, commands := read(t)
	shell(t, page.Bash(commands), `
. "$COMPLETION"
read -ra COMP_WORDS <<<"$TYPED"
[[ $TYPED == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_handy_man
printf '%s\n' "${COMPREPLY[@]}"
`, "bash", "--norc", "-c")
}

// zsh's own functions need a terminal; these print what they would offer.
func TestZsh(t *testing.T) {
	page, commands := read(t)
	shell(t, page.Zsh(commands), `
compdef() {}
_describe() { print -l -- ${(M)${(P@)2}:#${words[CURRENT]}*} }
compadd() { shift; print -l -- ${(M)@:#${words[CURRENT]}*} }
_files() {}
_command_names() { whence -m "${words[CURRENT]}*" | sed 's|.*/||' }
. "$COMPLETION"
words=(${(z)TYPED})
[[ $TYPED == *' ' ]] && words+=('')
CURRENT=${#words}
_handy_man
`, "zsh", "-f", "-c")
}

func TestFish(t *testing.T) {
	page, commands := read(t)
	shell(t, page.Fish(commands), `source $COMPLETION; complete -C "$TYPED"`, "fish", "--no-config", "-c")
}
