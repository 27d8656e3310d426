package booking

import (
	"strconv"
	"testing"
)

func TestBilledOnce(t *testing.T) {
	var b billed
	for _, step := range []struct {
		provider, id string
		retrieves    bool
		first        bool
	}{
		{"openai", "resp_1", false, true},
		{"openai", "resp_1", true, false},
		{"openai", "resp_1", true, false},
		{"openai", "resp_1", false, true}, // a server whose ids are all the same
		{"azure", "resp_1", true, true},
		{"azure", "resp_1", true, false},
		{"azure", "resp_1", false, false}, // made it, and is booked late
		{"azure", "resp_1", true, false},
		{"openai", "", true, true},
		{"openai", "", true, true},
	} {
		if got := b.first(step.provider, step.id, step.retrieves); got != step.first {
			t.Errorf("%s %q, retrieves %v: first %v", step.provider, step.id, step.retrieves, got)
		}
	}
	for i := range maxBilled {
		b.first("openai", "other_"+strconv.Itoa(i), true)
	}
	if !b.first("openai", "resp_1", true) || len(b.seen) > maxBilled {
		t.Errorf("%d responses are remembered for ever", len(b.seen))
	}
}

// What another process booked is asked for once, and only if nobody here knows.
func TestBilledBefore(t *testing.T) {
	var b billed
	asked := 0
	earlier := func(_, id string) bool { asked++; return id == "old" }
	for range 2 {
		b.recall("openai", "old", earlier)
		if b.first("openai", "old", true) {
			t.Error("an earlier process booked it")
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times, want once", asked)
	}
	b.recall("openai", "new", earlier)
	if !b.first("openai", "new", true) {
		t.Error("nobody booked it")
	}
	b.recall("openai", "new", earlier)
	if b.first("openai", "new", true) || asked != 2 {
		t.Errorf("it is booked, and asked for %d times", asked)
	}
}
