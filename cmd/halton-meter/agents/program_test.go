package agents_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
)

func TestSameProgram(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	long := strings.Repeat("0123456789abcdef", 10_000)
	for name, text := range map[string]string{
		"a": long, "equal": long, "other end": long[:len(long)-1] + "x", "shorter": long[1:], "whole pieces": long[:128<<10], "equal pieces": long[:128<<10], "empty": "", "also empty": "",
	} {
		if err := os.WriteFile(in(name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"a", "a", true},
		{"a", "equal", true},
		{"a", "other end", false},
		{"a", "shorter", false},
		{"a", "missing", false},
		{"whole pieces", "equal pieces", true},
		{"empty", "also empty", true},
	} {
		if got, err := agents.SameProgram(in(tt.a), in(tt.b)); got != tt.want || err != nil {
			t.Errorf("%s and %s: %v, %v", tt.a, tt.b, got, err)
		}
	}
	if _, err := agents.SameProgram(in("missing"), in("a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the first: %v", err)
	}
	if _, err := agents.SameProgram(in("a"), dir); err == nil {
		t.Error("a directory is compared")
	}
}
