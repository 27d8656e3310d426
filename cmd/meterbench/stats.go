package main

import (
	"math"
	"slices"
)

// percentile is the value below which p (0 to 1) of the samples lie, by
// nearest rank, and NaN of nothing. It sorts the samples.
func percentile(samples []float64, p float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	slices.Sort(samples)
	rank := int(math.Ceil(p * float64(len(samples))))
	return samples[min(max(rank, 1), len(samples))-1]
}

// median is the middle of the values that are numbers, or NaN.
func median(values []float64) float64 {
	v := numbers(values)
	if len(v) == 0 {
		return math.NaN()
	}
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

func numbers(values []float64) []float64 {
	var v []float64
	for _, x := range values {
		if !math.IsNaN(x) && !math.IsInf(x, 0) {
			v = append(v, x)
		}
	}
	return v
}

// spread is a figure over all rounds: its median, and the least and greatest.
type spread struct{ mid, low, high float64 }

func spreadOf(values []float64) spread {
	v := numbers(values)
	if len(v) == 0 {
		return spread{math.NaN(), math.NaN(), math.NaN()}
	}
	return spread{median(v), slices.Min(v), slices.Max(v)}
}

// ratios divides round by round: what slows a whole round down, such as
// another program, is on both sides of the division.
func ratios(values, base []float64) []float64 {
	var r []float64
	for i := range min(len(values), len(base)) {
		r = append(r, values[i]/base[i])
	}
	return r
}
