package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/internal/sandbox"
)

// States that need a disk, or a user, of their own; see TestBrokenStates.

func TestFullDisks(t *testing.T) {
	t.Parallel()
	sandbox.OnTmpfs(t, "size=160m", func(disk string) {
		newMachine(t, freePorts(t)).breakAndMend([]broken{
			{"a full disk", func(m *machine) ([]string, func()) {
				return nil, m.fill(disk)
			}, "free disk", "is full", false},
			{"a full disk and a daemon that is down", func(m *machine) ([]string, func()) {
				empty := m.fill(disk)
				m.signal("daemon", syscall.SIGKILL)
				return nil, func() {
					m.must(0, "start")
					m.must(0, "init")
					empty()
				}
			}, "free disk", "is full", false},
		})
	})
}

// fill leaves no room on a disk until it is emptied again, and the daemon has
// gone on by itself.
func (m *machine) fill(disk string) (empty func()) {
	m.Helper()
	remove := sandbox.Fill(m.T, disk)
	return func() {
		remove()
		m.waitFor("the daemon to go on by itself", func() bool {
			h, err := m.health()
			return err == nil && len(h.Warnings) == 0
		})
	}
}

func TestUnreadableFiles(t *testing.T) {
	t.Parallel()
	sandbox.AsUser(t, func() {
		// The daemon that runs has its files open: what comes next is one
		// that starts anew, on what it may not touch.
		mode := func(mode fs.FileMode, path func(agents.Paths) string) func(*machine) ([]string, func()) {
			return do(func(m *machine) {
				m.signal("daemon", syscall.SIGKILL)
				m.chmod(path(m.paths()), mode)
			})
		}
		newMachine(t, freePorts(t)).breakAndMend([]broken{
			{"a state directory that cannot be written", mode(0o500, func(p agents.Paths) string { return p.State }), "state directory", "cannot be written", false},
			{"a journal that cannot be written", mode(0o500, func(p agents.Paths) string { return p.In("journal") }), "state directory", "journal cannot be written", false},
			{"a program that may not be run", mode(0o600, agents.Paths.Program), "program", "not executable", false},
			{"a key that nobody can read", mode(0, agents.Paths.EdgeKey), "permissions", "edge-key", false},
			{"a root's key that nobody can read", mode(0, func(p agents.Paths) string { return filepath.Join(p.CA(), "ca-key.pem") }), "permissions", "ca-key.pem", false},
			{"a database that nobody can read", mode(0, func(p agents.Paths) string { return p.In("db.sqlite") }), "permissions", "db.sqlite", false},
			{"a configuration that nobody can read", mode(0, agents.Paths.Config), "permissions", "config.toml", false},
			{"a record of ports that nobody can read", mode(0, agents.Paths.Ports), "permissions", "effective-ports.json", false},
			{"a plist that nobody can read", mode(0, func(p agents.Paths) string { return p.Plist(agents.Daemon) }), "permissions", agents.Daemon, false},
		})
	})
}

// After "sudo halton-meter init" on a Linux machine, say.
func TestAnotherUsersFiles(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Log("only root can give files away")
		return
	}
	newMachine(t, freePorts(t)).breakAndMend([]broken{
		{"a database of another user", func(m *machine) ([]string, func()) {
			if err := os.Chown(m.paths().In("db.sqlite"), 4711, -1); err != nil {
				m.Fatal(err)
			}
			return nil, func() { // what the doctor advises, and SQLite's files beside it
				if out, err := exec.Command("chown", "-R", "0", m.paths().State).CombinedOutput(); err != nil {
					m.Fatalf("%v: %s", err, out)
				}
			}
		}, "permissions", "belongs to another user", false},
	})
}
