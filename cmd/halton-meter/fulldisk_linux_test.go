package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/haltonlabs/halton-meter/internal/sandbox"
)

// The disk fills up under a running meter: no call fails, rows go to the
// reserve, survive kill -9 there, then stay in memory, then /health says that
// nothing is metered; with room again all of them are in the ledger once.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	sandbox.OnTmpfs(t, "size=160m", func(disk string) {
		m := newMachine(t, freePorts(t))
		m.must(0, "start")
		seen := &counter{metered: map[string]bool{}, more: make(chan struct{}, 1)}
		m.provider.Handle("POST /v1/messages", seen)
		c := m.numbered()
		m.callMany(c, 10)
		m.export()

		empty := sandbox.Fill(t, disk)
		m.callMany(c, 60)
		rep, code := m.status()
		if text := strings.Join(rep.Warnings, "\n"); code != 0 || !strings.Contains(text, "the disk is full") || !strings.Contains(text, "reserve") {
			t.Errorf("status on the full disk: exit code %d, warnings %q", code, rep.Warnings)
		}
		if rows := m.export(); len(rows) != 70 {
			t.Errorf("%d rows on the full disk, want 70", len(rows))
		}
		if err := syscall.Kill(rep.component("daemon").PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		m.waitFor("the daemon's end", func() bool { rep, _ := m.status(); return rep.component("daemon").PID == 0 })
		m.must(0, "start") // on the full disk
		m.callMany(c, 10)
		empty()
		m.must(0, "start")
		m.callMany(c, 10)
		m.wantRows(seen)

		// Without a reserve it comes to memory sooner.
		pieces, err := filepath.Glob(m.paths().In("journal", "reserve-*"))
		if err != nil || len(pieces) == 0 {
			t.Fatalf("no reserve: %v", err)
		}
		for _, p := range pieces {
			if err := os.Remove(p); err != nil {
				t.Fatal(err)
			}
		}
		empty = sandbox.Fill(t, disk)
		var reason error
		for i := 0; reason == nil; i++ {
			if i == 100 {
				t.Fatal("the daemon's memory takes everything")
			}
			m.callMany(c, 100)
			_, reason = m.health()
		}
		if !strings.Contains(reason.Error(), "no room") || !strings.Contains(reason.Error(), "no space left") {
			t.Errorf("/health says %q", reason)
		}
		if rep, code := m.status(); code != exitUnhealthy || !strings.Contains(rep.Metering.Reason, "no space left") {
			t.Errorf("status: exit code %d, metering %+v", code, rep.Metering)
		}
		m.callMany(m.numbered(), 20) // unmetered
		empty()
		m.waitFor("the daemon to recover by itself", func() bool {
			h, err := m.health()
			return err == nil && len(h.Warnings) == 0
		})
		m.wantRows(seen)
	})
}
