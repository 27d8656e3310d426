package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/haltonlabs/halton-meter/meter/api"
	"github.com/haltonlabs/halton-meter/portalloc"
)

// withLoad is a machine whose daemon runs, with a provider that counts.
func withLoad(t *testing.T) (*machine, *counter, *clientOf) {
	t.Helper()
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	seen := &counter{metered: map[string]bool{}, more: make(chan struct{}, 1)}
	m.provider.Handle("POST /v1/messages", seen)
	return m, seen, m.numbered()
}

// health is what the daemon says of itself.
func (m *machine) health() (api.Health, error) {
	rec, err := portalloc.ReadRecord(m.paths().Ports())
	if err != nil {
		return api.Health{}, err
	}
	return health(m.Context(), rec.Ports["api"])
}

// callMany sends n requests over a few connections, each with an id of its own,
// and fails the test if one does not succeed.
func (m *machine) callMany(c *clientOf, n int) {
	m.Helper()
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := w; i < n; i += 8 {
				if err := askProvider(context.WithoutCancel(m.Context()), c.Client, c.id()); err != nil {
					m.Errorf("a call failed: %v", err)
					return
				}
			}
		})
	}
	all.Wait()
}

// wantRows wants one row for each exchange that the daemon brought to the
// provider.
func (m *machine) wantRows(seen *counter) {
	m.Helper()
	rows := map[string]int{}
	for _, row := range m.export() {
		rows[row.Project]++
	}
	ids := seen.ids()
	for _, id := range ids {
		if rows[id] != 1 {
			m.Errorf("exchange %s has %d rows", id, rows[id])
		}
	}
	if len(rows) != len(ids) {
		m.Errorf("%d rows for %d exchanges", len(rows), len(ids))
	}
	m.Log(fmt.Sprint(len(rows), " exchanges, a row each"))
}

// warned waits until status tells what it should.
func (m *machine) warned(what string) {
	m.Helper()
	m.waitFor("a warning of "+what, func() bool {
		rep, _ := m.status()
		return strings.Contains(strings.Join(rep.Warnings, "\n"), what)
	})
}

// calm waits until nothing is amiss.
func (m *machine) calm() {
	m.Helper()
	m.waitFor("no warnings", func() bool {
		rep, code := m.status()
		return code == 0 && len(rep.Warnings) == 0
	})
}

// Another process holds the database's write lock: traffic flows, rows lie in
// the journal, everybody who asks is told, and then they are in the database.
func TestALockedDatabase(t *testing.T) {
	t.Parallel()
	m, seen, c := withLoad(t)
	m.callMany(c, 10)
	m.export()

	// WAL_WRITE_LOCK (https://sqlite.org/walformat.html section 2.3.1), which
	// BEGIN IMMEDIATE and BEGIN EXCLUSIVE take.
	shm, err := os.OpenFile(m.paths().In("db.sqlite-shm"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer shm.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: 120, Len: 1}
	if err := unix.FcntlFlock(shm.Fd(), unix.F_SETLKW, &lock); err != nil {
		t.Fatal(err)
	}
	m.callMany(c, 40)
	m.warned("locked")
	if _, err := m.health(); err != nil {
		t.Errorf("/health says %v, and the journal takes rows", err)
	}
	if r := m.must(0, "db", "check"); !strings.Contains(r.out, "40 rows not in the database yet") {
		t.Errorf("db check:\n%s%s", r.out, r.err)
	}
	backup := filepath.Join(m.home, "copy.sqlite")
	m.must(0, "db", "backup", backup)
	m.wantRows(seen)

	lock.Type = unix.F_UNLCK
	if err := unix.FcntlFlock(shm.Fd(), unix.F_SETLK, &lock); err != nil {
		t.Fatal(err)
	}
	m.calm()
	if r := m.must(0, "db", "check", "--full"); !strings.Contains(r.out, " 0 rows not in the database yet") || !strings.Contains(r.out, "integrity_check: ok") {
		t.Errorf("db check:\n%s%s", r.out, r.err)
	}
	m.wantRows(seen)
}

// Pages of the database are overwritten under the running daemon.
func TestADatabaseCorruptedUnderTheDaemon(t *testing.T) {
	t.Parallel()
	m, seen, c := withLoad(t)
	m.callMany(c, 200)
	m.export()
	m.must(0, "stop") // so that all of it is in the file itself
	m.must(0, "start")
	backup := filepath.Join(m.home, "copy.sqlite")
	m.must(0, "db", "backup", backup)
	m.callMany(c, 10)
	m.export()

	f, err := os.OpenFile(m.paths().In("db.sqlite"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	garbage := strings.Repeat("garbage!", int(st.Size()-4096)/8)
	if _, err := f.WriteAt([]byte(garbage), 4096); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	m.callMany(c, 40)
	if r := m.must(exitFailed, "db", "check"); !strings.Contains(r.out+r.err, "corrupt") && !strings.Contains(r.out+r.err, "malformed") {
		t.Errorf("db check:\n%s%s", r.out, r.err)
	}
	m.callMany(c, 40)
	m.warned("db.sqlite.corrupt-")
	m.callMany(c, 40)
	m.must(0, "db", "recover", backup)
	m.must(0, "db", "check", "--full")
	// The backup has what was lost with the pages, and the write-ahead log
	// what came after it.
	m.wantRows(seen)
}

// The journal's directory is removed under the daemon.
func TestADeletedJournal(t *testing.T) {
	t.Parallel()
	m, seen, c := withLoad(t)
	m.callMany(c, 10)
	if err := os.Rename(m.paths().In("journal"), filepath.Join(m.home, "gone")); err != nil {
		t.Fatal(err)
	}
	m.callMany(c, 10)
	m.waitFor("another journal", func() bool {
		found, _ := filepath.Glob(m.paths().In("journal", "*.j1"))
		return len(found) > 0
	})
	m.callMany(c, 10)
	m.calm()
	m.wantRows(seen)
	m.must(0, "stop")
	m.must(0, "start")
	m.wantRows(seen)
}

// A second daemon on the state directory refuses to start and names the first.
func TestASecondDaemon(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	rep, _ := m.status()
	first := rep.component("daemon").PID
	r := m.halton("daemon")
	if r.code != exitFailed || !strings.Contains(r.err, "another daemon runs") || !strings.Contains(r.err, strconv.Itoa(first)) {
		t.Errorf("exit code %d, want the process %d named:\n%s", r.code, first, r.err)
	}
	if rep, code := m.status(); code != 0 || rep.component("daemon").PID != first {
		t.Errorf("status: exit code %d, %+v", code, rep.component("daemon"))
	}
	if _, err := m.play(m.client(""), 0); err != nil {
		t.Error(err)
	}
	if rows := m.export(); len(rows) != 1 {
		t.Errorf("%d rows", len(rows))
	}
}

// The jobs keep their own logs small, whatever size they found them in.
func TestLogsAreRotated(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	m.must(0, "stop")
	m.must(0, "launchctl", "bootout", m.edgeTarget())
	large := strings.Repeat("a line of an old log\n", 9<<20/21)
	for _, job := range []string{"daemon", "edge"} {
		m.write(m.paths().In(job+".err.log"), large)
	}
	m.must(0, "start")
	if _, err := m.play(m.client(""), 0); err != nil {
		t.Fatal(err)
	}
	m.export()
	for job, event := range map[string]string{"daemon": "daemon.startup.ready", "edge": "edge.startup.ready"} {
		log, err := os.ReadFile(m.paths().In(job + ".err.log"))
		if err != nil || !strings.Contains(string(log), event) || len(log) > 1<<20 {
			t.Errorf("%s: %d bytes of log, %v: %.200s", job, len(log), err, log)
		}
		old, err := os.ReadFile(m.paths().In(job + ".err.log.1"))
		if err != nil || string(old) != large {
			t.Errorf("%s: the old log has %d bytes: %v", job, len(old), err)
		}
	}
	m.must(0, "stop")
	m.must(0, "start")
	if rep, code := m.status(); code != 0 {
		t.Errorf("status: exit code %d, %+v", code, rep)
	}
}
