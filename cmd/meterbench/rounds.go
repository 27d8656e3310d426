package main

import (
	"context"
	"fmt"
)

// entrant is a contender in one subject: measure does the work of one round.
type entrant struct {
	name    string
	measure func(ctx context.Context) (result, error)
}

// interleave runs the entrants in turn, round after round, so that whatever
// else the machine does meets all of them. Each round begins with another one,
// since the first of a round finds the machine in another state than the last.
// One round before the first is thrown away: it fills pools and caches.
//
// An entrant that fails leaves its rounds empty and is named in the table:
// that a peer breaks under a load is a finding, not an error of the bench.
func interleave(ctx context.Context, t *table, rounds int, entrants []entrant) error {
	broken := map[string]bool{}
	for round := -1; round < rounds; round++ {
		results := make([]result, len(entrants))
		for i := range entrants {
			at := (i + max(round, 0)) % len(entrants)
			e := entrants[at]
			if broken[e.name] {
				continue
			}
			r, err := e.measure(ctx)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				broken[e.name] = true
				t.note("%s failed in round %d: %v", e.name, round+1, err)
				continue
			}
			results[at] = r
		}
		if round < 0 {
			continue
		}
		for i, e := range entrants {
			t.add(e.name, results[i])
		}
	}
	if len(broken) == len(entrants) {
		return fmt.Errorf("measure %s: every contender failed: %v", t.title, t.notes)
	}
	return nil
}

// addOver sets, for every row, how much each figure exceeds that of the row
// called base in the same round: what a proxy adds.
func (t *table) addOver(base string, names ...string) {
	for row, rounds := range t.rounds {
		for i, r := range rounds {
			if row == base || r == nil || i >= len(t.rounds[base]) {
				continue
			}
			for _, name := range names {
				value, ok := r[name]
				under, okBase := t.rounds[base][i][name]
				if ok && okBase {
					r["added "+name] = value - under
				}
			}
		}
	}
}
