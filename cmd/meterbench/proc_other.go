//go:build !linux

package main

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// processUsage asks ps, which knows no descriptors and no shared pages.
func processUsage(pid int) (usage, error) {
	out, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return usage{}, fmt.Errorf("read memory of process %d: %w", pid, err)
	}
	kb, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		return usage{}, fmt.Errorf("read memory of process %d: %w", pid, err)
	}
	return usage{rss: kb << 10, pss: -1, fds: -1, cpu: -1}, nil
}

func descendants(roots []int) ([]int, error) {
	out, err := exec.Command("ps", "-axo", "pid=,ppid=").Output()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	parents := map[int]int{}
	for line := range strings.Lines(string(out)) {
		var pid, parent int
		if _, err := fmt.Sscan(line, &pid, &parent); err == nil {
			parents[pid] = parent
		}
	}
	return family(roots, parents), nil
}

func busyTime() (time.Duration, error) { return 0, errUnmeasured }
