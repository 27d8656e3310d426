package term_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/term"
)

func TestErrorSaysWhatToType(t *testing.T) {
	var out bytes.Buffer
	term.Error(&out, errors.New("no edge"), "halton-meter start")
	if got, want := out.String(), "error: no edge\nhint: halton-meter start\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Into a file or a pipe go plain, aligned lines, and nothing that moves.
func TestStepsIntoAFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := term.NewSteps(f, len("watchdog registered"))
	s.Waiting("registering daemon")
	s.Done("daemon registered", "com.example")
	s.Failed("watchdog registered", "")
	s.Close()
	got, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	want := "✓ daemon registered    com.example\n✗ watchdog registered\n"
	if string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
