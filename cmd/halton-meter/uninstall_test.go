package main

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
)

// uninstallAll keeps nothing.
var uninstallAll = []string{"uninstall", "--purge", "--include-logs", "--yes", "--no-graceful"}

func (m *machine) isGone(path string) bool {
	_, err := os.Lstat(path)
	return os.IsNotExist(err)
}

// A state directory may hold, or be, something of the user's.
func TestUninstallDeletesWhatIsOurs(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	theirs := []string{"thesis.tex", "bin/tool", "journal/2026.txt", "ca/notes"}
	for _, name := range theirs {
		m.write(m.paths().In(name), "mine")
	}
	m.must(0, "start")
	r := m.must(0, "uninstall", "--purge")
	if !strings.Contains(r.out, "thesis.tex") || !strings.Contains(r.out, "ledger kept") {
		t.Errorf("it says %q", r.out)
	}
	if m.isGone(m.paths().In("db.sqlite")) {
		t.Error("the ledger is gone")
	}
	m.must(0, uninstallAll...)
	if have := m.files(m.paths().State); strings.Join(have, " ") != "bin/tool ca/notes journal/2026.txt thesis.tex" {
		t.Errorf("%q stay", have)
	}
	m.remove(m.paths().State)
}

func TestUninstallBehindALink(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	real := filepath.Join(m.home, "disk")
	if err := os.Rename(m.paths().State, real); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, m.paths().State); err != nil {
		t.Fatal(err)
	}
	m.must(0, "start")
	m.wantHealthy("behind a link")
	m.must(0, uninstallAll...)
	if !m.isGone(real) || !m.isGone(m.paths().State) {
		t.Error("something is left")
	}
}

func TestUninstallNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.remove(m.paths().State)
	if r := m.must(0, "uninstall"); !strings.Contains(r.out, "nothing is installed") {
		t.Errorf("it says %q", r.out)
	}
}

// A built-in supervisor that hangs or cannot be reached is no reason to leave
// its jobs.
func TestUninstallUnderAHungSupervisor(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	if err := syscall.Kill(emulator.Holder(m.paths().State), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	m.must(0, uninstallAll...)
	if left := m.processes(); len(left) > 0 {
		t.Errorf("%q run", left)
	}
}

func TestRescueUnderALostSupervisor(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	m.remove(m.paths().In("launchd.sock"))
	m.must(0, "rescue")
	m.wantHealthy("after the rescue")
	if n := len(m.processes()); n != 4 { // the supervisor and three jobs
		t.Errorf("%q run", m.processes())
	}
}

// Who deletes the state directory first has jobs that run without it.
func TestUninstallWithoutAStateDirectory(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	port := agents.EdgePort(m.paths())
	// The jobs write meanwhile.
	m.waitFor("the state directory to go", func() bool { return os.RemoveAll(m.paths().State) == nil })
	m.must(0, uninstallAll...)
	if conn, err := net.Dial("tcp", agents.EdgeAddress(port)); err == nil {
		conn.Close()
		t.Error("the edge is there")
	}
	m.waitFor("the rest to end", func() bool { return len(m.processes()) == 0 })
	// What ended last may have written.
	m.must(0, uninstallAll...)
}

// In mode apps shells hold the proxy, also when uninstall is run again to
// delete more.
func TestASecondUninstallKeepsTheEdge(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "init", "--apps")
	m.must(0, "uninstall")
	if r := m.must(0, "uninstall"); !strings.Contains(r.out, "edge stays") {
		t.Errorf("it says %q", r.out)
	}
	m.must(0, uninstallAll...)
}

// A mode that this machine cannot have is refused before anything is ended.
func TestRescueRefusesFirst(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "darwin" {
		return // it has every mode
	}
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	before, _ := m.status()
	m.must(exitFailed, "rescue", "--full")
	if after, code := m.status(); code != 0 || after.component("daemon").PID != before.component("daemon").PID {
		t.Errorf("status: exit code %d, %+v", code, after)
	}
}

// The edge that a graceful uninstall left serves until the one of the next
// installation takes its place.
func TestSetUpAfterAGracefulPurge(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.env = append(m.env, "SHELL=/bin/bash")
	conf, err := os.ReadFile(m.paths().Config())
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"start", "init"} {
		m.must(0, "init", "--apps")
		m.must(0, "uninstall", "--purge", "--include-logs", "--yes")
		m.write(m.paths().Config(), string(conf))
		m.must(0, command)
		rep, code := m.status()
		if edge := rep.component("edge"); code != 0 || edge.PID == 0 {
			t.Errorf("after %s: exit code %d, edge %+v", command, code, edge)
		}
		if _, err := m.play(m.client(""), 0); err != nil {
			t.Error(err)
		}
	}
}
