package main

import (
	"strings"
	"testing"
)

// What NO_PROXY keeps from the meter stays past it, and is told, on standard
// error only.
func TestRunTellsOfNoProxy(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	for list, told := range map[string]string{
		"*":                  "more hosts",
		".anthropic.com,x.y": "api.anthropic.com",
		"localhost":          "",
	} {
		r := m.haltonWith([]string{"NO_PROXY=" + list}, "run", "--", "sh", "-c", `printf %s "$NO_PROXY"; exit 7`)
		if r.code != 7 || !strings.HasPrefix(r.out, list) || strings.Contains(r.out, "halton") {
			t.Errorf("%s: exit code %d, %q", list, r.code, r.out)
		}
		if (told == "") != (r.err == "") || !strings.Contains(r.err, told) || strings.Count(r.err, "\n") > 1 {
			t.Errorf("%s: it says %q", list, r.err)
		}
	}
}
