package main

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
)

// A daemon that cannot start is not waited for, and start says why, with
// every port that was tried.
func TestADaemonThatCannotStart(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.installed()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	conf, err := os.ReadFile(m.paths().Config())
	if err != nil {
		t.Fatal(err)
	}
	m.write(m.paths().Config(), replaceKey(string(conf), "internal_port", port))
	r := m.must(exitFailed, "start")
	for _, want := range []string{"daemon healthy", "exited with code 1", port, "mend that, then halton-meter start"} {
		if !strings.Contains(r.err, want) {
			t.Errorf("start does not say %q:\n%s", want, r.err)
		}
	}
	m.write(m.paths().Config(), string(conf))
	m.must(0, "start")
}

// replaceKey gives a key of a TOML text another value.
func replaceKey(text, key, value string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, key+" ") {
			line = key + " = " + value + "\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

// A stranger on the edge's port is named, and init goes round it.
func TestAStrangerOnTheEdgesPort(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "")
	// Nobody else may bind 8081 for this test, so it takes what init chose.
	m.installed()
	port := agents.EdgePort(m.paths())
	m.must(0, "launchctl", "bootout", m.target(agents.Edge))
	m.waitFor("the port to be free", func() bool {
		ln, err := net.Listen("tcp", agents.EdgeAddress(port))
		if err != nil {
			return false
		}
		srv := &http.Server{Handler: http.NotFoundHandler()}
		go srv.Serve(ln)
		t.Cleanup(func() { srv.Close() })
		return true
	})
	r := m.must(exitFailed, "start")
	for _, want := range []string{"port is taken", strconv.Itoa(port), "halton-meter init"} {
		if !strings.Contains(r.err, want) {
			t.Errorf("start does not say %q:\n%s", want, r.err)
		}
	}
	m.installed()
	if moved := agents.EdgePort(m.paths()); moved == port {
		t.Errorf("init left the edge on %d", port)
	}
	m.must(0, "start")
	if _, err := m.play(m.client(""), 0); err != nil {
		t.Error(err)
	}
}

func (m *machine) target(label string) string {
	return "gui/" + strconv.Itoa(os.Getuid()) + "/" + label
}

// Several commands at once, as when a terminal opens many tabs, all end with a
// healthy meter, and the one for start-up files says one line.
func TestStartsAtOnce(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.installed()
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if r := m.halton("start"); r.code != 0 {
				t.Errorf("exit code %d: %s%s", r.code, r.out, r.err)
			}
		})
	}
	all.Go(func() {
		// Its budget is short, so a busy machine may exhaust it.
		if r := m.halton("start", "--quiet"); strings.Count(r.out+r.err, "\n") != 1 {
			t.Errorf("start --quiet: %q %q", r.out, r.err)
		}
	})
	all.Wait()
	if _, code := m.status(); code != 0 {
		t.Errorf("status: exit code %d", code)
	}
	if r := m.must(0, "start", "--quiet"); strings.Count(r.out+r.err, "\n") != 1 {
		t.Errorf("start --quiet when all is up: %q %q", r.out, r.err)
	}
}

// A ledger that was corrupt is replaced, and everybody who asks is told.
func TestACorruptLedgerIsTold(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	if _, err := m.play(m.client(""), 0); err != nil {
		t.Fatal(err)
	}
	m.must(0, "stop")
	for _, name := range []string{"db.sqlite-wal", "db.sqlite-shm"} {
		os.Remove(m.paths().In(name))
	}
	m.write(m.paths().In("db.sqlite"), strings.Repeat("garbage!", 1024))
	m.must(0, "start")
	m.waitFor("the corrupt ledger to be set aside", func() bool {
		files, _ := filepath.Glob(m.paths().In("db.sqlite.corrupt-*"))
		return len(files) == 1
	})
	rep, _ := m.status()
	if len(rep.Warnings) == 0 || !strings.Contains(strings.Join(rep.Warnings, "\n"), "db.sqlite.corrupt-") {
		t.Errorf("status does not tell: %q", rep.Warnings)
	}
	if r := m.must(0, "report"); !strings.Contains(r.err, "db.sqlite.corrupt-") {
		t.Errorf("report does not tell: %q", r.err)
	}
	if _, err := m.play(m.client(""), 0); err != nil {
		t.Fatal(err)
	}
	if rows := m.export(); len(rows) != 1 {
		t.Errorf("%d rows in the new ledger", len(rows))
	}
}

// A root's key that others can read is no fault of the configuration.
func TestStartWithAnExposedKey(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.installed()
	m.chmod(filepath.Join(m.paths().CA(), "ca-key.pem"), 0o644)
	r := m.must(exitFailed, "start")
	if !strings.Contains(r.err, "hint: halton-meter doctor") || !strings.Contains(r.err, "chmod 600") {
		t.Errorf("start says %q", r.err)
	}
}
