package main

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const stat = "4711 (a (odd) name) S 12 4711 4711 0 -1 4194304 1 2 3 4 150 50 0 0 20 0 9 0 12345 1 2"
	parent, cpu, err := parseStat(stat)
	if err != nil || parent != 12 || cpu != 2*time.Second {
		t.Errorf("parent %d, cpu %v, %v", parent, cpu, err)
	}
	for _, bad := range []string{"", "1 (x", "1 (x) S 2", "1 (x) S y 0 0 0 0 0 0 0 0 0 0 1 1"} {
		if _, _, err := parseStat(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestParseBusy(t *testing.T) {
	got, err := parseBusy("cpu  100 20 30 4000 500 6 7 8 9 10\ncpu0 1 2 3\n")
	if want := 171 * tick; err != nil || got != want {
		t.Errorf("busy %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"", "cpu 1 2 3\n", "cpu a b c d e f g h\n"} {
		if _, err := parseBusy(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestKilobytes(t *testing.T) {
	rollup := []byte("5563-7ffd ---p 0 00:00 0 [rollup]\nRss:                1308 kB\nPss_Dirty:  7 kB\nPss:                 204 kB\n")
	if rss, pss, none := kilobytes(rollup, "Rss"), kilobytes(rollup, "Pss"), kilobytes(rollup, "Swap"); rss != 1308<<10 || pss != 204<<10 || none != -1 {
		t.Errorf("%d, %d, %d", rss, pss, none)
	}
}

// A child counts to its parent.
func TestUsageOfAProcessTree(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	tree, err := descendants([]int{os.Getpid()})
	if err != nil || !slices.Contains(tree, cmd.Process.Pid) {
		t.Fatalf("descendants %v, %v: the child %d is missing", tree, err, cmd.Process.Pid)
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	with, err := processUsage(os.Getpid())
	f.Close()
	without, err2 := processUsage(os.Getpid())
	if err != nil || err2 != nil || with.fds != without.fds+1 || with.rss <= 0 || with.pss <= 0 {
		t.Errorf("with a file %+v, %v; without %+v, %v", with, err, without, err2)
	}
	if _, err := usageOf([]int{1 << 30}); err == nil {
		t.Error("a process that is none has a usage")
	}
}
