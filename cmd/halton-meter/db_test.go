package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/meter/ledger"
)

// state is a state directory with a ledger of n rows, and no daemon.
func state(t *testing.T, n int) (home string, paths agents.Paths) {
	t.Helper()
	home = t.TempDir()
	paths = agents.Paths{Home: home, State: filepath.Join(home, ".halton-meter")}
	l, err := ledger.Open(t.Context(), ledger.Config{Dir: paths.State})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		err := l.Finish(ledger.Row{ID: fmt.Sprint("row-", i), RequestedAt: time.Now(), Project: "shop", Status: "success"})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	return home, paths
}

// A ledger is checked, backed up, broken, recovered and checked again, by the
// real program.
func TestDB(t *testing.T) {
	t.Parallel()
	const rows = 2000
	home, paths := state(t, rows)
	m := &machine{T: t, home: home, env: []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}}
	says := func(r result, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(r.out+r.err, w) {
				t.Errorf("it does not say %q:\n%s%s", w, r.out, r.err)
			}
		}
	}
	says(m.must(0, "db", "check"), "2,000", "quick_check: ok", "0 rows not in the database", "schema")
	says(m.must(0, "db", "check", "--full"), "integrity_check: ok")
	says(m.must(0, "db", "recover"), "nothing to recover")
	backup := filepath.Join(home, "copy.sqlite")
	says(m.must(0, "db", "backup", backup), "backed up")
	says(m.must(exitFailed, "db", "backup", backup), "hint: add --force")
	m.must(0, "db", "backup", "--force", backup)
	says(m.must(exitFailed, "db", "backup", filepath.Join(home, "none", "x")), "mkdir -p")

	path := paths.In("db.sqlite")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 15 * 4096; at+4096 <= len(data); at += 10 * 4096 {
		clear(data[at : at+4096])
	}
	m.write(path, string(data))
	says(m.must(exitFailed, "db", "check"), "corrupt", "failed", "hint: halton-meter stop && halton-meter db recover")
	says(m.must(exitFailed, "db", "check", "--json"), `"problem": "`)
	says(m.must(0, "db", "recover"), "rows recovered")
	found := len(m.export())
	if found < rows/2 || found >= rows {
		t.Errorf("%d of %d rows after the recovery, want most", found, rows)
	}
	says(m.must(0, "db", "check"), "quick_check: ok", grouped(int64(found)), "set aside", "rows recovered")
	// What the damage cost, the backup still has.
	says(m.must(0, "db", "recover", backup), "2,000 of 2,000 rows recovered")
	if n := len(m.export()); n != rows {
		t.Errorf("%d rows with the backup's, want %d", n, rows)
	}
	says(m.must(0, "db", "recover", backup), " 0 of them new")
	if kept, err := filepath.Glob(paths.In("db.sqlite.corrupt-*Z")); err != nil || len(kept) != 1 {
		t.Errorf("set aside %v, %v; want one", kept, err)
	}
	// The program's purge keeps all that is left of the ledger.
	m.must(0, "uninstall", "--purge")
	for _, kept := range []string{"db.sqlite", "db.sqlite.corrupt-*Z"} {
		if found, err := filepath.Glob(paths.In(kept)); err != nil || len(found) != 1 {
			t.Errorf("purge left %s %v, %v", kept, found, err)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 2 << 20: "2.1 MB", 5e12: "5.0 TB", 5e15: "5000.0 TB"} {
		if got := size(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}
