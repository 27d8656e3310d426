package main

import (
	"errors"
	"time"
)

// errUnmeasured: this system does not tell what was asked.
var errUnmeasured = errors.New("not measured on this system")

// usage is what processes hold and have used. A field below zero is unknown.
type usage struct {
	rss int64 // resident memory, in bytes
	pss int64 // the same with shared pages divided among their users
	fds int   // open descriptors
	cpu time.Duration
}

// usageOf sums over the processes and all that descend from them: squid and
// others are several.
func usageOf(pids []int) (usage, error) {
	family, err := descendants(pids)
	if err != nil {
		return usage{}, err
	}
	var sum usage
	for _, pid := range family {
		u, err := processUsage(pid)
		if err != nil {
			return usage{}, err
		}
		sum.rss += u.rss
		sum.pss += u.pss
		sum.fds += u.fds
		sum.cpu += u.cpu
	}
	return sum, nil
}

// family walks the tree of processes, parents being by child.
func family(roots []int, parents map[int]int) []int {
	member := map[int]bool{}
	for _, pid := range roots {
		member[pid] = true
	}
	all := append([]int(nil), roots...)
	for grown := true; grown; {
		grown = false
		for pid, parent := range parents {
			if member[parent] && !member[pid] {
				member[pid], grown = true, true
				all = append(all, pid)
			}
		}
	}
	return all
}
