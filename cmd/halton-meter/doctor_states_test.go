package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/doctor"
	"github.com/haltonlabs/halton-meter/internal/filelock"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
)

// TestMoreBrokenStates is TestBrokenStates with what a careful user met.
func TestMoreBrokenStates(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.write(filepath.Join(m.home, ".bashrc"), "# mine\n")
	m.env = append(m.env, "SHELL=/bin/bash", "PATH="+toolsOnly(t))
	m.must(0, "init")
	m.wantHealthy("at first")
	open := m.client("")
	for _, state := range moreBrokenStates() {
		if !t.Run(state.name, func(t *testing.T) { m.T = t; state.mend(m, open) }) {
			t.Fatalf("the rest would build on this\n%s", m.logs())
		}
	}
	m.T = t
}

// pipe puts a named pipe, which nobody writes to, in a file's place.
func (m *machine) pipe(path string) {
	m.Helper()
	m.remove(path)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		m.Fatal(err)
	}
}

// directory puts a directory in a file's place.
func (m *machine) directory(path string) {
	m.Helper()
	m.remove(path)
	if err := os.Mkdir(path, 0o700); err != nil {
		m.Fatal(err)
	}
}

// inShell is a state of the doctor's own environment.
func inShell(kv string) func(*machine) ([]string, func()) {
	return func(*machine) ([]string, func()) { return []string{kv}, func() {} }
}

// configured edits config.toml, and puts it back.
func configured(edit func(*machine, string) string) func(*machine) ([]string, func()) {
	return func(m *machine) ([]string, func()) {
		return nil, m.swap(m.paths().Config(), func(s string) string { return edit(m, s) })
	}
}

func moreBrokenStates() []broken {
	all := []broken{
		{"no edge key", do(func(m *machine) { m.remove(m.paths().EdgeKey()) }), "keys", "is missing", false},
		{"an edge key that is none", do(func(m *machine) { m.write(m.paths().EdgeKey(), "") }), "keys", "holds no key", false},
		{"an edge key that the daemon does not know", do(func(m *machine) {
			m.write(m.paths().EdgeKey(), strings.Repeat("0f", 32)+"\n")
		}), "keys", "was written after the daemon", false},
		{"no token", do(func(m *machine) { m.remove(m.paths().Token()) }), "keys", "api-token", false},
		{"a pipe for a mode", do(func(m *machine) { m.pipe(m.paths().InstallMode()) }), "files", "is a pipe", false},
		{"a pipe for a record of ports", do(func(m *machine) { m.pipe(m.paths().Ports()) }), "files", "is a pipe", false},
		{"a pipe for a root", do(func(m *machine) { m.pipe(filepath.Join(m.paths().CA(), "ca.pem")) }), "files", "is a pipe", false},
		{"a directory for a bundle", do(func(m *machine) { m.directory(m.paths().Bundle()) }), "files", "is a directory", false},
		{"a directory for a log", do(func(m *machine) { m.directory(m.paths().Log(agents.Daemon, "err")) }), "files", "is a directory", false},
		{"a pipe for a configuration", func(m *machine) ([]string, func()) {
			undo := m.swap(m.paths().Config(), func(s string) string { return s })
			m.pipe(m.paths().Config())
			return nil, func() { m.remove(m.paths().Config()); undo() }
		}, "files", "is a pipe", false},
		{"a plist that is a link", do(func(m *machine) {
			path := m.paths().Plist(agents.Edge)
			if err := os.Rename(path, path+".real"); err != nil {
				m.Fatal(err)
			}
			if err := os.Symlink(path+".real", path); err != nil {
				m.Fatal(err)
			}
			m.Cleanup(func() { os.Remove(path + ".real") })
		}), "files", "is a link", false},
		{"a root without its key", do(func(m *machine) { m.remove(filepath.Join(m.paths().CA(), "ca-key.pem")) }), "certificate authority", "is not whole", false},
		{"a bundle of before", do(func(m *machine) {
			m.swap(m.paths().Bundle(), func(s string) string {
				_, rest, _ := strings.Cut(s, "-----END CERTIFICATE-----\n")
				return rest
			})
		}), "trust bundle", "not what it would be now", false},
		{"roots that are not there", configured(func(_ *machine, s string) string {
			return strings.Replace(s, "ca_file = ", "ca_file = \"/nonexistent/roots.pem\" #", 1)
		}), "trust bundle", "/nonexistent/roots.pem", false},
		{"an upstream that is not there", configured(func(m *machine, s string) string {
			return strings.Replace(s, "proxy = ", fmt.Sprintf("proxy = \"http://127.0.0.1:%d\" #", freePort(m.T)), 1)
		}), "upstream", "does not answer", false},
		{"another port for the edge", configured(func(m *machine, s string) string {
			return replaceKey(s, "edge_port", strconv.Itoa(freePort(m.T)))
		}), "launch agents", "config.toml gives the edge port", false},
		{"a configuration that the daemon has not read", do(func(m *machine) {
			m.swap(m.paths().Config(), func(s string) string { return s + "\n[tagging]\ndefault_project = \"x\"\n" })
		}), "daemon", "was written after the daemon", false},
		{"a suspended watchdog", do(func(m *machine) { m.suspend("watchdog") }), "watchdog", "was suspended", false},
		{"a login agent that is not loaded", do(func(m *machine) { m.must(0, "launchctl", "bootout", m.target(agents.UserEnv)) }), "login agent", "not loaded", false},
		{"another command at work", func(m *machine) ([]string, func()) {
			lock, err := filelock.Try(m.paths().State)
			if err != nil {
				m.Fatal(err)
			}
			return nil, func() { lock.Unlock() }
		}, "other commands", "at work", false},
		{"a post-mortem that is cut off", do(func(m *machine) { m.write(m.paths().Postmortem(), `{"time":`) }), "post-mortems", "cannot be read", false},
		{"another program's database", do(func(m *machine) {
			m.must(0, "stop")
			m.remove(m.paths().GracefulShutdown())
			m.swap(m.paths().In("db.sqlite"), func(s string) string {
				// The application's id: four bytes at offset 68 of the header
				// (https://www.sqlite.org/fileformat.html).
				return s[:68] + "\x01\x02\x03\x04" + s[72:]
			})
		}), "ledger", "not written by halton-meter", false},
		{"a proxy without a scheme", inShell("HTTPS_PROXY=127.0.0.1:9"), "proxy variables", "nor anybody else", false},
		{"a base URL of an edge that is gone", inShell("ANTHROPIC_BASE_URL=http://127.0.0.1:8189/anthropic"), "proxy variables", "ANTHROPIC_BASE_URL", false},
		{"roots in this shell that are gone", inShell("SSL_CERT_FILE=/nonexistent/bundle.pem"), "proxy variables", "cannot be read", false},
		{"a shell that goes past every proxy", inShell("NO_PROXY=*"), "proxy variables", "nothing is metered", false},
		{"roots in launchd's environment that are gone", do(func(m *machine) {
			m.must(0, "launchctl", "setenv", "CURL_CA_BUNDLE", "/nonexistent/bundle.pem")
		}), "proxy variables", "launchd's environment", false},
		{"our variables in launchd's environment", do(func(m *machine) {
			m.must(0, "launchctl", "setenv", "HTTPS_PROXY", "http://"+agents.EdgeAddress(agents.EdgePort(m.paths())))
		}), "GUI environment", "does not want", false},
		{"launchd's environment without our variables", do(func(m *machine) {
			m.must(0, "init", "--apps")
			m.must(0, "launchctl", "unsetenv", "HTTPS_PROXY")
		}), "GUI environment", "HTTPS_PROXY", false},
		{"no note of launchd's environment", do(func(m *machine) { m.remove(m.paths().AppsManaged()) }), "sentinels", "is missing", false},
	}
	return append(all, supervisorStates()...)
}

// supervisorStates are of the built-in launchd. None of them costs the jobs
// anything.
func supervisorStates() []broken {
	return []broken{
		{"a hung supervisor", do(func(m *machine) {
			if err := syscall.Kill(emulator.Holder(m.paths().State), syscall.SIGSTOP); err != nil {
				m.Fatal(err)
			}
		}), "supervisor", "does not answer", false},
		{"a supervisor without its socket", do(func(m *machine) { m.remove(m.paths().In("launchd.sock")) }), "supervisor", "does not answer", false},
		{"a mode of another system", do(func(m *machine) { m.write(m.paths().InstallMode(), "full\n") }), "system proxy", "the mode is full", false},
	}
}

// A daemon that would not start again is not ended: what else is wrong waits.
func TestADaemonThatWouldNotStartAgain(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	before, _ := m.status()
	m.swap(m.paths().Config(), func(s string) string { return s + "\n[daemon\n" })
	m.remove(m.paths().Token())
	if rep, code := m.doctor("--fix", "--apply"); code != exitUnhealthy || finding(rep, "keys").Verdict != doctor.Broken {
		t.Errorf("exit code %d, %+v", code, rep)
	}
	if after, _ := m.status(); after.component("daemon").PID != before.component("daemon").PID {
		t.Error("the daemon was ended")
	}
}

// The user's own proxy on this machine is not taken for a stale edge.
func TestTheUsersLocalProxy(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	own := "http://" + ln.Addr().String()
	m.must(0, "launchctl", "setenv", "HTTPS_PROXY", own)
	rep, _ := m.doctor("--fix", "--apply")
	if f := finding(rep, "proxy variables"); f.Verdict != doctor.Healthy {
		t.Errorf("%s", f.Evidence)
	}
	if r := m.must(0, "launchctl", "getenv", "HTTPS_PROXY"); strings.TrimSpace(r.out) != own {
		t.Errorf("launchd's HTTPS_PROXY is %q", r.out)
	}
}
