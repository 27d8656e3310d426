package main

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
)

// An installation from before launchd held the edge's port gets it at start.
func TestAnOlderPlistIsBroughtUpToDate(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "init")
	path := m.paths().Plist(agents.Edge)
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	older := agents.Jobs(m.paths(), agents.EdgePort(m.paths()))[agents.Edge]
	older.Sockets = nil
	data, err := older.Encode()
	if err != nil {
		t.Fatal(err)
	}
	m.must(0, "launchctl", "bootout", "--wait", m.edgeTarget())
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	m.must(0, "launchctl", "bootstrap", domainOf(m.edgeTarget()), path)
	m.edgePID()
	m.must(0, "start")
	if got, err := os.ReadFile(path); err != nil || string(got) != string(want) {
		t.Errorf("the plist is %q, %v", got, err)
	}
	if svc := m.must(0, "launchctl", "print", m.edgeTarget()).out; !strings.Contains(svc, "active = 1\n") {
		t.Errorf("launchd does not hold the port:\n%s", svc)
	}
	// Nor is a port that launchd holds for a dead edge a stranger's: it is
	// pinned, and init would fail.
	if err := syscall.Kill(m.edgePID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	m.must(0, "init")
}

// A stranger has the port when the job is loaded. The job is loaded all the
// same, and as soon as the port is free, the edge has it.
func TestTheEdgesPortIsTakenAtLoad(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "init")
	addr := agents.EdgeAddress(agents.EdgePort(m.paths()))
	m.must(0, "launchctl", "bootout", "--wait", m.edgeTarget())
	stranger, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	m.must(0, "launchctl", "bootstrap", domainOf(m.edgeTarget()), m.paths().Plist(agents.Edge))
	m.waitFor("an edge that found the port taken", func() bool {
		log, err := os.ReadFile(m.paths().Log(agents.Edge, "err"))
		return err == nil && strings.Contains(string(log), "edge.listen.failed")
	})
	stranger.Close()
	m.waitFor("the edge on its port", func() bool { return agents.EdgeAnswers(t.Context(), m.paths(), agents.EdgePort(m.paths())) == nil })
}

// domainOf is the domain of a service's target.
func domainOf(target string) string { return target[:strings.LastIndexByte(target, '/')] }
