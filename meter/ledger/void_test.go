package ledger

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestVoidErrors: what cannot be taken back is told or left alone.
func TestVoidErrors(t *testing.T) {
	l := mustOpen(t, Config{Dir: t.TempDir()}, quick())
	if err := l.Void(""); err == nil {
		t.Error("Void takes an empty id")
	}
	must(t, l.Void("never opened"))
	must(t, l.Close(t.Context()))
	if err := l.Void("x"); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestVoidFreesTheJournal: an opening that was taken back, in another segment
// than its own, keeps no file.
func TestVoidFreesTheJournal(t *testing.T) {
	ctx := context.Background()
	tuning := defaultTuning()
	tuning.segmentBytes = 300 // one record
	l, err := open(ctx, Config{Dir: t.TempDir()}, tuning)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close(ctx)
	for _, id := range []string{"a", "b", "c"} {
		if err := l.Begin(Opening{ID: id, RequestedAt: time.Now(), Path: "/v1/responses"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"a", "b", "c"} {
		if err := l.Void(id); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for range 4 { // each sweep can release what the one before has removed
		l.sweep(0)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.journal.segments); n != 1 || l.journal.segments[0].opens != 0 || len(l.voids) != 0 {
		t.Errorf("%d segments are left, %d openings in the first, %d voids", n, l.journal.segments[0].opens, len(l.voids))
	}
}
