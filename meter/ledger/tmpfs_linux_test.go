package ledger

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/haltonlabs/halton-meter/internal/sandbox"
)

// TestFullFileSystem fills a real file system up: rows go into the reserve,
// over a crash too, then into memory, and all of them into the database when
// there is room again.
func TestFullFileSystem(t *testing.T) {
	sandbox.OnTmpfs(t, "size=32m", func(mount string) {
		dir := filepath.Join(mount, "state")
		config := Config{Dir: dir, MaxPending: 400}
		tune := quick()
		l := mustOpen(t, config, tune)
		n := 0
		finish := func() error {
			r := fullRow(fmt.Sprintf("%06d", n))
			must(t, l.Begin(Opening{ID: r.ID, RequestedAt: r.RequestedAt}))
			err := l.Finish(r)
			if err == nil {
				n++
			}
			return err
		}
		must(t, finish())
		must(t, l.Flush(t.Context()))
		whole := l.Status().ReserveLeft
		if whole == 0 {
			t.Fatal("no reserve was made")
		}

		empty := sandbox.Fill(t, mount)
		for range 1000 {
			must(t, finish())
			if s := l.Status(); s.InMemory > 0 {
				t.Fatalf("row %d is in memory only: %+v", n, s)
			}
		}
		s := until(t, l, func(s Status) bool { return s.DatabaseErr != nil })
		if !s.InReserve || s.ReserveLeft == 0 || l.Storable() != nil {
			t.Fatalf("status %+v, storable %v: want to be in the reserve", s, l.Storable())
		}
		crash(l)

		l = mustOpen(t, config, tune)
		must(t, finish())
		if s := l.Status(); !s.InReserve || s.InMemory > 0 {
			t.Fatalf("after a restart on the full disk: %+v, want to be in the reserve", s)
		}
		if got := len(readAll(t, dir, Query{})); got != n {
			t.Errorf("a reader sees %d rows on the full disk, want %d", got, n)
		}
		empty()
		until(t, l, func(s Status) bool {
			return s.Ready && s.DatabaseErr == nil && s.Pending == 0 && !s.Behind && !s.InReserve && s.ReserveLeft == whole
		})

		empty = sandbox.Fill(t, mount)
		for l.Storable() == nil {
			if err := finish(); err != nil {
				t.Fatalf("refused while storable: %v", err)
			}
		}
		if s := l.Status(); s.ReserveLeft > 1000 || s.InMemory == 0 || !errors.Is(s.JournalErr, unix.ENOSPC) {
			t.Errorf("status %+v, want the reserve used up and rows in memory", s)
		}
		empty()
		until(t, l, func(s Status) bool {
			return s.JournalErr == nil && s.DatabaseErr == nil && s.Pending == 0 && !s.Behind && s.InMemory == 0 && s.ReserveLeft == whole
		})
		must(t, l.Storable())
		must(t, l.Close(t.Context()))
		must(t, os.RemoveAll(filepath.Join(dir, journalName)))
		seen := map[string]bool{}
		for _, r := range readAll(t, dir, Query{}) {
			if seen[r.ID] || r.Status != "error" {
				t.Errorf("row %s twice, or as %q", r.ID, r.Status)
			}
			seen[r.ID] = true
		}
		if len(seen) != n {
			t.Errorf("%d rows in the database, want %d", len(seen), n)
		}
	})
}

// A disk that is full from the start.
func TestOpenOnFullFileSystem(t *testing.T) {
	sandbox.OnTmpfs(t, "size=32m", func(mount string) {
		empty := sandbox.Fill(t, mount)
		dir := filepath.Join(mount, "state")
		l := mustOpen(t, Config{Dir: dir}, quick())
		must(t, l.Begin(Opening{ID: "a", RequestedAt: start}))
		must(t, l.Finish(row("a", 0)))
		s := until(t, l, func(s Status) bool { return s.DatabaseErr != nil })
		if s.InMemory != 1 || s.JournalErr == nil || l.Storable() != nil {
			t.Errorf("status %+v, storable %v: want one row in memory", s, l.Storable())
		}
		empty()
		until(t, l, func(s Status) bool {
			return s.Ready && s.JournalErr == nil && s.Pending == 0 && !s.Behind && s.ReserveLeft > 0
		})
		must(t, l.Close(t.Context()))
		if rows := readAll(t, dir, Query{}); len(rows) != 1 || rows[0].Status != "success" {
			t.Errorf("rows %+v, want one", rows)
		}
	})
}

// No inode is left: files can grow, and no new one can be made.
func TestNoMoreFiles(t *testing.T) {
	sandbox.OnTmpfs(t, "size=6m,nr_inodes=24", func(mount string) {
		dir := filepath.Join(mount, "state")
		tune := quick()
		tune.segmentBytes = 8 << 10
		l := mustOpen(t, Config{Dir: dir}, tune)
		must(t, l.Flush(t.Context()))
		var files []string
		for {
			f, err := os.CreateTemp(mount, "")
			if errors.Is(err, unix.ENOSPC) {
				break
			}
			must(t, err)
			files = append(files, f.Name())
			_, err = io.WriteString(f, "x")
			must(t, errors.Join(err, f.Close()))
		}
		for i := range 200 {
			must(t, l.Finish(row(fmt.Sprint(i), i)))
			if s := l.Status(); s.InMemory > 0 {
				t.Fatalf("row %d is in memory only: %+v", i, s)
			}
		}
		must(t, l.Flush(t.Context()))
		for _, name := range files {
			must(t, os.Remove(name))
		}
		must(t, l.Close(t.Context()))
		if got := len(readAll(t, dir, Query{})); got != 200 {
			t.Errorf("%d rows, want 200", got)
		}
	})
}
