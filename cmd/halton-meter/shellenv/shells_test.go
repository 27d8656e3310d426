package shellenv_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
)

// A shell that ends at the first error reads the line to its end, whether the
// program is there, is none, or is gone; and where the state directory is not
// the usual one, the program is told.
func TestTheLineFailsNoShell(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	program := filepath.Join(home, "it's here", "halton-meter")
	if err := os.Mkdir(filepath.Dir(program), 0o700); err != nil {
		t.Fatal(err)
	}
	shells := shellenv.Shells{Home: home, Program: program, State: filepath.Join(home, "st ate"), Getenv: os.Getenv}
	f := shells.File(filepath.Join(home, ".bashrc"))
	for _, c := range []struct{ name, program, want string }{
		{"there", "#!/bin/sh\necho \"GOT='$HALTON_METER_HOME $*'\"\n", shells.State + " env"},
		{"failing", "#!/bin/sh\nexit 3\n", ""},
		{"garbage", "\x7fELF", ""},
		{"gone", "", ""},
	} {
		// Another process may be starting just now, and hold the file open for
		// writing: then it cannot be run.
		if err := exec.CommandContext(t.Context(), "sh", "-c", `rm -f "$1"; test -z "$2" || { printf %s "$2" >"$1"; chmod 700 "$1"; }`, "", program, c.program).Run(); err != nil {
			t.Fatal(err)
		}
		for _, shell := range []string{"sh", "bash"} {
			out, err := exec.CommandContext(t.Context(), shell, "-c", "set -eu; GOT=; "+f.Line+"\necho \"$GOT\"").Output()
			if err != nil || string(out) != c.want+"\n" {
				t.Errorf("%s, %s: %q, %v; want %q", c.name, shell, out, err, c.want)
			}
			if out, err := exec.CommandContext(t.Context(), shell, "-c", f.Line+"\necho $?").Output(); err != nil || string(out) != "0\n" {
				t.Errorf("%s, %s: status %q, %v", c.name, shell, out, err)
			}
		}
	}
}
