package main

import (
	"fmt"
	"math"
)

// claim is a promise that a figure keeps or breaks.
type claim struct {
	text  string
	value float64
	limit float64
	unit  unit
}

func (c claim) String() string {
	if math.IsNaN(c.value) || math.IsInf(c.value, 0) {
		return "not measured: " + c.text
	}
	verdict := "holds"
	if c.value > c.limit {
		verdict = "FAILS"
	}
	return fmt.Sprintf("%s: %s: %s, at most %s", verdict, c.text, c.unit.format(c.value), c.unit.format(c.limit))
}

// claim promises that a ratio is at most the limit.
func (t *table) claim(text string, ratio, limit float64) {
	t.claimIn(inCount, text, ratio, limit)
}

func (t *table) claimIn(u unit, text string, value, limit float64) {
	t.claims = append(t.claims, claim{text, value, limit, u})
}
