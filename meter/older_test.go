package meter

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/meter/ca"
)

// TestStartedAfter: only a client that is known to have started after a root
// knows it.
func TestStartedAfter(t *testing.T) {
	root := time.Unix(1_700_000_000, 0)
	found := make(chan struct{})
	close(found)
	for _, tt := range []struct {
		name string
		cl   client
		want bool
	}{
		{"long before", client{found: found, started: root.Add(-time.Hour)}, false},
		{"while the bundle was written", client{found: found, started: root.Add(time.Second)}, false},
		{"after it", client{found: found, started: root.Add(trustTime + time.Millisecond)}, true},
		{"nobody knows", client{found: found}, false},
		{"not found yet", client{found: make(chan struct{}), started: root.Add(time.Hour)}, false},
	} {
		if got := tt.cl.startedAfter(root); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// TestAddedRoot: the first root holds nobody up, and a later one does for its
// own hosts alone.
func TestAddedRoot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	if err := ca.Create(dir, []string{"api.example.com"}); err != nil {
		t.Fatal(err)
	}
	authority := func() *ca.Authority {
		a, err := ca.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	first := authority()
	for time.Now().Unix() <= first.NotBefore().Unix() {
		time.Sleep(10 * time.Millisecond) // a certificate's time has a resolution of a second
	}
	if _, err := ca.Extend(dir, []string{"llm.example.org"}); err != nil {
		t.Fatal(err)
	}
	a := authority()
	if got := addedRoot(a, "api.example.com"); !got.IsZero() {
		t.Errorf("the first root was added at %v", got)
	}
	if got := addedRoot(a, "llm.example.org"); !got.After(a.NotBefore()) {
		t.Errorf("the second root was added at %v", got)
	}
	if got := addedRoot(a, "other.example.com"); !got.IsZero() {
		t.Errorf("no root was added at %v", got)
	}
}
