package booking

import (
	"strconv"
	"testing"
)

func TestBilledOnce(t *testing.T) {
	var b billed
	for _, step := range []struct {
		provider, id string
		first        bool
	}{
		{"openai", "resp_1", true},
		{"openai", "resp_1", false},
		{"azure", "resp_1", true},
		{"openai", "", true},
		{"openai", "", true},
	} {
		if got := b.first(step.provider, step.id); got != step.first {
			t.Errorf("%s %q: first %v", step.provider, step.id, got)
		}
	}
	for i := range maxBilled {
		b.first("openai", "other_"+strconv.Itoa(i))
	}
	if !b.first("openai", "resp_1") || len(b.seen) > maxBilled {
		t.Errorf("%d responses are remembered for ever", len(b.seen))
	}
}
