package meter

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestLearned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const host, program = "api.example.com", "/bin/tool"
		var l learned
		if l.passes(host, program) || l.knows(host) {
			t.Error("it knows something before it was told")
		}
		l.rejected(host, program, true)
		if !l.passes(host, program) || !l.knows(host) || len(l.list()) != 1 {
			t.Error("an alert is not learned at once")
		}
		if l.passes(host, "/bin/other") || l.passes("other.example.com", program) || l.knows("other.example.com") {
			t.Error("it was learned of another program or host too")
		}
		time.Sleep(learnedFor - time.Nanosecond)
		if !l.passes(host, program) {
			t.Error("forgotten too early")
		}
		time.Sleep(time.Nanosecond)
		if l.passes(host, program) || l.knows(host) || len(l.list()) != 0 {
			t.Error("never forgotten")
		}
	})
}

func TestGuessesMustComeInARow(t *testing.T) {
	const host, program = "api.example.com", "/bin/tool"
	var l learned
	for range guessesToLearn - 1 {
		l.rejected(host, program, false)
	}
	l.trusted(host, program)
	for range guessesToLearn - 1 {
		if l.rejected(host, program, false) || l.passes(host, program) {
			t.Fatal("learned from guesses that a success came between")
		}
	}
	if !l.rejected(host, program, false) || !l.passes(host, program) {
		t.Error("three guesses in a row are not learned")
	}
}
