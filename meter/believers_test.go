package meter

import (
	"testing"
	"time"
)

func TestBelievers(t *testing.T) {
	var b believers
	start := time.Unix(1_700_000_000, 0)
	who := believer{"api.example.com", 7, start}
	if b.has(who) || b.has(believer{host: who.host}) {
		t.Error("it knows somebody before it was told")
	}
	b.add(who)
	b.add(believer{host: "api.example.com"}) // nobody
	for other, want := range map[believer]bool{
		who:                             true,
		{"other.example.com", 7, start}: false,
		{"api.example.com", 8, start}:   false,
		{"api.example.com", 7, start.Add(time.Second)}: false,
		{host: "api.example.com"}:                      true,
		{host: "other.example.com"}:                    false,
		{}:                                             false,
	} {
		if got := b.has(other); got != want {
			t.Errorf("%+v: %v", other, got)
		}
	}
	for pid := range maxBelievers {
		b.add(believer{"api.example.com", pid + 100, start})
	}
	if b.has(who) || len(b.seen) != maxBelievers {
		t.Errorf("%d are remembered, the first too: %v", len(b.seen), b.has(who))
	}
}
