package edgectl_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/edgectl"
	"github.com/haltonlabs/halton-meter/proxyedge"
)

// A second edge goes on counting where the first one ended.
func TestCountersOutliveTheEdge(t *testing.T) {
	dir := t.TempDir()
	control := func(pid int) *edgectl.Control {
		return &edgectl.Control{
			Edge: &proxyedge.Edge{}, Socket: filepath.Join(dir, "edge.sock"), Counters: filepath.Join(dir, "counters.json"),
			Self: edgectl.Self{PID: pid, Port: 8081, Version: "1", StartedAt: time.Now()}, Logger: slog.New(slog.DiscardHandler),
		}
	}
	first := control(1)
	first.Edge.Restore(proxyedge.Status{Counts: proxyedge.Counts{Metered: 40, Lost: 2, Passthrough: 2}})
	first.Start(t.Context())()
	if rep, err := edgectl.Read(first.Counters); err != nil || rep.Metered != 40 || rep.PID != 1 {
		t.Fatalf("the file says %+v, %v", rep, err)
	}

	second := control(2)
	stop := second.Start(t.Context())
	var rep edgectl.Report
	for {
		var err error
		if rep, err = edgectl.Ask(t.Context(), second.Socket); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if rep.PID != 2 || rep.Port != 8081 || rep.Metered != 40 || rep.Lost != 2 {
		t.Errorf("the second edge answers %+v", rep)
	}
	stop()
	if _, err := os.Stat(second.Socket); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestReadRefusesGarbage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "counters.json")
	if _, err := edgectl.Read(path); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, []byte(`{"metered": "many"}`), fs.FileMode(0o600)); err != nil {
		t.Fatal(err)
	}
	if rep, err := edgectl.Read(path); err == nil {
		t.Errorf("garbage is read as %+v", rep)
	}
}

// An upgrade that waits for open requests is not tried at each request for it:
// each attempt has new ones wait.
func TestAPostponedUpgradeIsAskedForOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var attempts atomic.Int64
	c := &edgectl.Control{
		Edge: &proxyedge.Edge{}, Socket: filepath.Join(dir, "edge.sock"), Counters: filepath.Join(dir, "counters.json"),
		Self: edgectl.Self{PID: 1, Program: "old"}, Logger: slog.New(slog.DiscardHandler),
		Upgrade: func(_ context.Context, wait time.Duration) error {
			if wait > time.Second { // the first of a series
				attempts.Add(1)
			}
			return proxyedge.ErrBusy
		},
	}
	defer c.Start(t.Context())()
	for {
		if rep, err := edgectl.Ask(t.Context(), c.Socket); err == nil {
			if rep.Postponed {
				t.Error("postponed before it was asked")
			}
			break
		}
		time.Sleep(time.Millisecond)
	}
	for range 3 {
		if err := edgectl.Upgrade(t.Context(), c.Socket, "new"); !errors.Is(err, edgectl.ErrPostponed) {
			t.Fatal(err)
		}
	}
	if rep, err := edgectl.Ask(t.Context(), c.Socket); err != nil || !rep.Postponed {
		t.Errorf("the edge answers %+v, %v", rep, err)
	}
	if n := attempts.Load(); n != 1 {
		t.Errorf("%d attempts", n)
	}
}
