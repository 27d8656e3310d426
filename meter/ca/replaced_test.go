package ca_test

import (
	"path/filepath"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/ca"
)

func TestAReplacedAuthoritySaysSo(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "ca")
	if err := ca.MarkReplaced(dir); err == nil {
		t.Error("there is no authority yet, and it was marked")
	}
	if err := ca.Create(dir, []string{"api.example.com"}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{false, true} {
		a, err := ca.Load(dir)
		if err != nil || a.Replaced() != want {
			t.Fatalf("replaced %v, %v; want %v", a.Replaced(), err, want)
		}
		if err := ca.MarkReplaced(dir); err != nil {
			t.Fatal(err)
		}
	}
}
