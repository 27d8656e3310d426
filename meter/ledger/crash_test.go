package ledger

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// crashDir names the state directory for a process that is to be killed.
const crashDir = "LEDGER_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		writeUntilKilled(dir)
	}
	os.Exit(m.Run())
}

// writeUntilKilled begins and finishes exchanges without an end. It prints
// "begun ID" after each Begin and "done ID" after each Finish.
func writeUntilKilled(dir string) {
	tune := defaultTuning()
	tune.segmentBytes = 16 << 10 // so that kills also hit rotation and removal
	l, err := open(context.Background(), Config{Dir: dir, BatchDelay: time.Millisecond}, tune)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	out := os.Stdout
	for worker := range 4 {
		go func() {
			for i := 0; ; i++ {
				r := row(NewID(), i)
				if err := l.Begin(Opening{ID: r.ID, RequestedAt: r.RequestedAt, Project: r.Project}); err != nil {
					fmt.Fprintln(out, "error", err)
					os.Exit(1)
				}
				fmt.Fprintln(out, "begun", r.ID)
				if i%7 == worker {
					continue // stays open
				}
				if err := l.Finish(r); err != nil {
					fmt.Fprintln(out, "error", err)
					os.Exit(1)
				}
				fmt.Fprintln(out, "done", r.ID)
			}
		}()
	}
	select {}
}

// TestKillLosesNoExchange kills a writing process again and again: whatever
// it had begun has exactly one row afterwards, and what it had finished has
// its own.
func TestKillLosesNoExchange(t *testing.T) {
	exe, err := os.Executable()
	must(t, err)
	dir := t.TempDir()
	begun, done := map[string]bool{}, map[string]bool{}
	const kills = 15
	for i := range kills {
		cmd := exec.CommandContext(t.Context(), exe)
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 30+i*20 {
				must(t, cmd.Process.Kill())
			}
			switch what, id, _ := strings.Cut(lines.Text(), " "); {
			case len(id) != 36:
				// Killed in the middle of the line, or an error.
				if what == "error" {
					t.Fatal(lines.Text())
				}
			case what == "begun":
				begun[id] = true
			case what == "done":
				done[id] = true
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the process ended by itself")
		}
		// A dead daemon's finished rows are readable at once, once each.
		seen := map[string]bool{}
		for _, r := range readAll(t, dir, Query{}) {
			if seen[r.ID] {
				t.Fatalf("row %s twice", r.ID)
			}
			seen[r.ID] = true
		}
		for id := range done {
			if !seen[id] {
				t.Fatalf("kill %d: finished row %s is not readable", i, id)
			}
		}
	}
	l := mustOpen(t, Config{Dir: dir}, defaultTuning())
	must(t, l.Flush(t.Context()))
	if s := l.Status(); s.Damaged > kills {
		// Each kill can tear at most the one record that was being written.
		t.Errorf("%d damaged stretches after %d kills", s.Damaged, kills)
	}
	must(t, l.Close(t.Context()))
	status := map[string]string{}
	for _, r := range readAll(t, dir, Query{}) {
		if status[r.ID] != "" {
			t.Errorf("row %s twice", r.ID)
		}
		status[r.ID] = r.Status
	}
	for id := range begun {
		if status[id] == "" {
			t.Errorf("exchange %s was begun and has no row", id)
		}
	}
	for id := range done {
		if status[id] != "success" {
			t.Errorf("exchange %s was finished and has status %q", id, status[id])
		}
	}
	if len(begun) <= len(done) {
		t.Errorf("begun %d, done %d: nothing was open at a kill", len(begun), len(done))
	}
}

// crash ends l as SIGKILL would: nothing is flushed, and the locks go.
func crash(l *Ledger) {
	l.stop()
	l.work.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.journal.file != nil {
		l.journal.file.Close()
	}
	if l.owner != nil {
		l.owner.Unlock()
	}
}

// TestAnyInterleavingGivesOneRow drives Begin, Finish, Void, crash and restart in
// any order, over segments so small that they rotate all the time.
func TestAnyInterleavingGivesOneRow(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		must(t, err)
		tune := quick()
		tune.segmentBytes, tune.pieceBytes, tune.reservePieces = 1500, 1024, 4
		config := Config{Dir: dir, BatchRows: 3, MaxPending: 4, BatchDelay: time.Millisecond}
		l := mustOpen(t, config, tune)
		want := map[string]string{} // id to status
		var live []string
		restart := func() {
			l = mustOpen(t, config, tune)
			for _, id := range live {
				want[id] = statusUnknown
			}
			live = nil
		}
		rt.Repeat(map[string]func(*rapid.T){
			"begin": func(rt *rapid.T) {
				id := NewID()
				must(t, l.Begin(Opening{ID: id, RequestedAt: start}))
				live = append(live, id)
			},
			"finish": func(rt *rapid.T) {
				if len(live) == 0 {
					rt.Skip("nothing is open")
				}
				i := rapid.IntRange(0, len(live)-1).Draw(rt, "which")
				must(t, l.Finish(row(live[i], 0)))
				want[live[i]] = "success"
				live = append(live[:i], live[i+1:]...)
			},
			"void": func(rt *rapid.T) {
				if len(live) == 0 {
					rt.Skip("nothing is open")
				}
				i := rapid.IntRange(0, len(live)-1).Draw(rt, "which")
				must(t, l.Void(live[i]))
				live = append(live[:i], live[i+1:]...)
			},
			"finish unseen": func(rt *rapid.T) {
				id := NewID()
				must(t, l.Finish(row(id, 0)))
				want[id] = "success"
			},
			"finish again": func(rt *rapid.T) {
				for id, status := range want {
					if status == "success" {
						must(t, l.Finish(row(id, 0)))
						break
					}
				}
			},
			"tidy":  func(rt *rapid.T) { l.tidy() },
			"flush": func(rt *rapid.T) { must(t, l.Flush(t.Context())) },
			"restart": func(rt *rapid.T) {
				if rapid.Bool().Draw(rt, "crash") {
					crash(l)
				} else {
					must(t, l.Close(t.Context()))
				}
				restart()
			},
		})
		crash(l)
		restart()
		must(t, l.Close(t.Context()))
		got := map[string]string{}
		for _, r := range readAll(t, dir, Query{}) {
			if got[r.ID] != "" {
				rt.Fatalf("row %s twice", r.ID)
			}
			got[r.ID] = r.Status
		}
		for id, status := range want {
			if got[id] != status {
				rt.Fatalf("exchange %s has status %q, want %q", id, got[id], status)
			}
		}
		if len(got) != len(want) {
			rt.Fatalf("%d rows, want %d", len(got), len(want))
		}
	})
}
