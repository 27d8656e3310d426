package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc/PID/stat. USER_HZ has been 100 on every
// architecture that Go runs on (time(7)).
const tick = 10 * time.Millisecond

func processUsage(pid int) (usage, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	rollup, err := os.ReadFile(filepath.Join(dir, "smaps_rollup"))
	if err != nil {
		return usage{}, fmt.Errorf("read memory of process %d: %w", pid, err)
	}
	u := usage{rss: kilobytes(rollup, "Rss"), pss: kilobytes(rollup, "Pss")}
	files, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return usage{}, fmt.Errorf("read descriptors of process %d: %w", pid, err)
	}
	u.fds = len(files)
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return usage{}, fmt.Errorf("read times of process %d: %w", pid, err)
	}
	_, u.cpu, err = parseStat(string(stat))
	return u, err
}

// kilobytes finds a line such as "Rss:    1234 kB" (proc_pid_smaps(5)).
func kilobytes(rollup []byte, name string) int64 {
	for line := range bytes.Lines(rollup) {
		value, ok := bytes.CutPrefix(line, []byte(name+":"))
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(string(value)), " kB"), 10, 64)
		if err == nil {
			return n << 10
		}
	}
	return -1
}

// parseStat reads /proc/PID/stat (proc_pid_stat(5)). The program's name, in
// brackets, may hold spaces and brackets itself.
func parseStat(stat string) (parent int, cpu time.Duration, err error) {
	end := strings.LastIndexByte(stat, ')')
	fields := strings.Fields(stat[end+1:])
	const ppid, utime, stime = 1, 11, 12 // counted from the state
	if end < 0 || len(fields) <= stime {
		return 0, 0, fmt.Errorf("read process state: %q has too few fields", stat)
	}
	var n [3]int
	for i, at := range []int{ppid, utime, stime} {
		if n[i], err = strconv.Atoi(fields[at]); err != nil {
			return 0, 0, fmt.Errorf("read process state: %w", err)
		}
	}
	return n[0], time.Duration(n[1]+n[2]) * tick, nil
}

func descendants(roots []int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	parents := map[int]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // it has ended meanwhile
		}
		if parent, _, err := parseStat(string(stat)); err == nil {
			parents[pid] = parent
		}
	}
	return family(roots, parents), nil
}

// busyTime is how long all processors together were busy since the start of
// the system (proc_stat(5)); steal counts, since we cannot have that time.
func busyTime() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read processor times: %w", err)
	}
	return parseBusy(string(stat))
}

func parseBusy(stat string) (time.Duration, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("read processor times: unexpected line %q", line)
	}
	busy := 0
	for i, f := range fields[1:9] {
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, fmt.Errorf("read processor times: %w", err)
		}
		if i != 3 && i != 4 { // idle, iowait
			busy += n
		}
	}
	return time.Duration(busy) * tick, nil
}
