package main

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/doctor"
)

// broken is one state of the matrix.
type broken struct {
	name string
	// with is what breaks the installation. It may return environment for
	// the doctor, and what takes the cause away where no program can.
	with func(m *machine) (env []string, undo func())
	// check and says are the finding that names the cause.
	check, says string
	// dead: programs that use the edge fail until it is mended, since it is
	// the edge that is broken.
	dead bool
}

// TestBrokenStates breaks an installation in every way that we know of. The
// doctor must name the cause, its plan or the removal of the cause must mend
// it, and traffic must flow all the time, but where the edge itself is dead.
func TestBrokenStates(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.write(filepath.Join(m.home, ".bashrc"), "# mine\n")
	m.breakAndMend(brokenStates)
}

// breakAndMend sets the machine up and goes through the states.
func (m *machine) breakAndMend(states []broken) {
	t := m.T
	t.Helper()
	defer func() { m.T = t }()
	m.env = append(m.env, "SHELL=/bin/bash", "PATH="+toolsOnly(t))
	m.must(0, "init")
	m.wantHealthy("at first")
	open := m.client("") // a program that was there before all of this
	for _, state := range states {
		if !t.Run(state.name, func(t *testing.T) { m.T = t; state.mend(m, open) }) {
			t.Fatalf("the rest would build on this\n%s", m.logs())
		}
	}
}

// toolsOnly is a PATH with what the plans need, and none of the clients whose
// handshake the doctor would try each time: there are a hundred times.
func toolsOnly(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	for _, tool := range []string{"sh", "chmod", "kill", "mv", "rm", "env"} {
		path, err := exec.LookPath(tool)
		if err == nil {
			err = os.Symlink(path, filepath.Join(bin, tool))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return bin
}

// mend breaks the machine and mends it. The program of open was there before.
func (s broken) mend(m *machine, open *http.Client) {
	env, undo := s.with(m)
	if !s.dead {
		if _, err := m.play(open, 0); err != nil {
			m.Errorf("traffic: %v", err)
		}
		// No open tunnel for a later state's edge to wait for.
		open.CloseIdleConnections()
	}
	rep, code := m.doctorWith(env)
	if f := finding(rep, s.check); code == 0 || f.Verdict == doctor.Healthy || !strings.Contains(f.Evidence, s.says) {
		m.Errorf("exit code %d, %s: %s: %q does not say %q", code, f.Check, f.Verdict, f.Evidence, s.says)
	} else if f.Next == "" {
		m.Errorf("%s: no next step", f.Check)
	}
	if undo != nil {
		undo()
	}
	rep, _ = m.doctor("--fix", "--apply")
	for _, f := range rep.Findings {
		if f.Verdict != doctor.Healthy {
			m.Errorf("not mended: %s: %s", f.Check, f.Evidence)
		}
	}
	if _, err := m.play(open, 0); err != nil {
		m.Errorf("traffic after the repair: %v", err)
	}
	open.CloseIdleConnections()
}

func finding(rep doctor.Report, check string) doctor.Finding {
	for _, f := range rep.Findings {
		if f.Check == check {
			return f
		}
	}
	return doctor.Finding{Check: check, Verdict: doctor.Healthy, Evidence: "not examined"}
}

// do makes a state that the plan mends.
func do(f func(m *machine)) func(*machine) ([]string, func()) {
	return func(m *machine) ([]string, func()) { f(m); return nil, nil }
}

func (m *machine) remove(path string) {
	m.Helper()
	if err := os.RemoveAll(path); err != nil {
		m.Fatal(err)
	}
}

func (m *machine) signal(job string, signal syscall.Signal) {
	m.Helper()
	rep, _ := m.status()
	pid := rep.component(job).PID
	if pid == 0 {
		m.Fatalf("%s has no process", job)
	}
	if err := syscall.Kill(pid, signal); err != nil {
		m.Fatal(err)
	}
	if signal == syscall.SIGKILL {
		m.waitFor(job+" to die", func() bool { rep, _ := m.status(); return rep.component(job).PID != pid })
	}
}

// swap replaces a file and returns what puts it back.
func (m *machine) swap(path string, edit func(string) string) func() {
	m.Helper()
	old, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		m.Fatal(err)
	}
	missing := err != nil
	m.write(path, edit(string(old)))
	return func() {
		if missing {
			m.remove(path)
		} else {
			m.write(path, string(old))
		}
	}
}

var brokenStates = []broken{
	{"a garbled record of ports", do(func(m *machine) { m.write(m.paths().Ports(), "{garbage") }), "daemon", "record of ports", false},
	{"a record of a dead daemon", do(func(m *machine) {
		m.swap(m.paths().Ports(), func(s string) string { return strings.Replace(s, `"pid": `, `"pid": 9`, 1) })
	}), "daemon", "record of ports", false},
	{"no record of ports", do(func(m *machine) { m.remove(m.paths().Ports()) }), "daemon", "record of ports", false},
	{"a deleted plist", do(func(m *machine) { m.remove(m.paths().Plist(agents.Daemon)) }), "launch agents", "is missing", false},
	{"a deleted edge plist", do(func(m *machine) { m.remove(m.paths().Plist(agents.Edge)) }), "launch agents", "is missing", false},
	{"an edited plist", do(func(m *machine) {
		m.swap(m.paths().Plist(agents.Watchdog), func(s string) string { return strings.Replace(s, "watchdog", "watchdog ", 1) })
	}), "launch agents", "not as this version writes it", false},
	{"a disabled job", do(func(m *machine) { m.must(0, "launchctl", "disable", m.target(agents.Daemon)) }), "disabled jobs", agents.Daemon, false},
	{"no graphical session", func(m *machine) ([]string, func()) {
		// Seen from a shell over ssh; what was loaded goes on.
		return []string{"HALTON_METER_LAUNCHCTL=" + m.standIn(), standInNobody + "=yes"}, func() {}
	}, "supervisor", "no GUI session", false},
	{"an edge that is not loaded", do(func(m *machine) { m.must(0, "launchctl", "bootout", m.target(agents.Edge)) }), "edge", "not loaded", true},
	{"a hung edge", do(func(m *machine) { m.suspend("edge") }), "edge", "does not answer", true},
	{"a dead daemon", do(func(m *machine) { m.signal("daemon", syscall.SIGKILL) }), "daemon", "Killed: 9", false},
	{"a hung daemon", do(func(m *machine) { m.suspend("daemon") }), "daemon", "is not healthy", false},
	{"a stopped daemon", func(m *machine) ([]string, func()) {
		m.must(0, "stop")
		return nil, func() { m.must(0, "start") }
	}, "daemon", "halton-meter stop", false},
	{"a watchdog that is not loaded", do(func(m *machine) { m.must(0, "launchctl", "bootout", m.target(agents.Watchdog)) }), "watchdog", "does not run", false},
	{"a daemon that launchd does not know", do(func(m *machine) {
		m.must(0, "launchctl", "bootout", m.target(agents.Daemon))
		cmd := exec.Command(m.paths().Program(), "daemon")
		cmd.Env = m.env
		if err := cmd.Start(); err != nil {
			m.Fatal(err)
		}
		go cmd.Wait() // it is killed
		m.waitFor("the second daemon", func() bool { _, err := m.health(); return err == nil })
	}), "second daemon", "launchd did not start", false},
	{"a key that others can read", do(func(m *machine) { m.chmod(m.paths().EdgeKey(), 0o644) }), "permissions", "edge-key", false},
	{"a root's key that others can read", do(func(m *machine) { m.chmod(filepath.Join(m.paths().CA(), "ca-key.pem"), 0o640) }), "permissions", "ca-key.pem", false},
	{"an open state directory", do(func(m *machine) { m.chmod(m.paths().State, 0o755) }), "permissions", "0755", false},
	{"a plist that others can write", do(func(m *machine) { m.chmod(m.paths().Plist(agents.Daemon), 0o666) }), "permissions", "0666", false},
	{"no certificate authority", do(func(m *machine) { m.remove(m.paths().CA()) }), "certificate authority", "no certificate authority", false},
	{"a garbled root", do(func(m *machine) { m.write(filepath.Join(m.paths().CA(), "ca.pem"), "garbage") }), "certificate authority", "ca.pem", false},
	{"an expired root", do((*machine).expireRoot), "certificate authority", "expired", false},
	{"no bundle", do(func(m *machine) { m.remove(m.paths().Bundle()) }), "trust bundle", "bundle.pem", false},
	{"a bundle with our root only", do(func(m *machine) {
		m.swap(m.paths().Bundle(), func(string) string {
			root, err := os.ReadFile(filepath.Join(m.paths().CA(), "ca.pem"))
			if err != nil {
				m.Fatal(err)
			}
			return string(root)
		})
	}), "trust bundle", "system's are missing", false},
	{"no program", do(func(m *machine) { m.remove(m.paths().Program()) }), "program", "is missing", false},
	{"another program", do(func(m *machine) {
		// Not in place: a running program's file cannot be written to.
		m.write(m.paths().Program()+".new", "#!/bin/sh\nexec "+program+" \"$@\"\n")
		m.chmod(m.paths().Program()+".new", 0o755)
		if err := os.Rename(m.paths().Program()+".new", m.paths().Program()); err != nil {
			m.Fatal(err)
		}
	}), "program", "is not this", false},
	{"a broken configuration", func(m *machine) ([]string, func()) {
		return nil, m.swap(m.paths().Config(), func(s string) string { return s + "\n[daemon\n" })
	}, "configuration", "line", false},
	{"a corrupt database", func(m *machine) ([]string, func()) {
		m.must(0, "stop")
		m.swap(m.paths().In("db.sqlite"), func(s string) string {
			return s[:4096] + strings.Repeat("garbage ", 512) + s[8192:] // its second page
		})
		m.remove(m.paths().GracefulShutdown())
		return nil, func() {
			// The daemon sets it aside and brings back what can be read. That
			// rows are missing is told until somebody takes the file away.
			m.must(0, "start")
			var aside []string
			m.waitFor("the database to be set aside, behind a healthy journal", func() bool {
				var err error
				aside, err = filepath.Glob(m.paths().In("db.sqlite.corrupt-*"))
				return err == nil && len(aside) > 0
			})
			for _, path := range aside {
				m.remove(path)
			}
		}
	}, "ledger", "db.sqlite", false},
	{"a database of a newer version", func(m *machine) ([]string, func()) {
		m.must(0, "stop")
		m.remove(m.paths().GracefulShutdown())
		undo := m.swap(m.paths().In("db.sqlite"), func(s string) string {
			// The schema is the user version: four bytes at offset 60 of the
			// header (https://www.sqlite.org/fileformat.html).
			return s[:60] + "\x00\x00\x27\x10" + s[64:]
		})
		return nil, undo
	}, "ledger", "newer", false},
	{"a proxy variable in launchd's environment", do(func(m *machine) {
		m.must(0, "launchctl", "setenv", "HTTPS_PROXY", "http://127.0.0.1:9")
	}), "proxy variables", "launchd's environment", false},
	{"a proxy variable in this shell", func(*machine) ([]string, func()) {
		return []string{"https_proxy=http://127.0.0.1:9"}, func() {}
	}, "proxy variables", "in this shell", false},
	{"another proxy than the upstream", func(*machine) ([]string, func()) {
		return []string{"HTTPS_PROXY=http://proxy.corp.example:3128"}, func() {}
	}, "other proxies", "proxy.corp.example", false},
	{"a proxy that cannot be gone through", func(*machine) ([]string, func()) {
		return []string{"ALL_PROXY=socks5://proxy.corp.example:1080"}, func() {}
	}, "other proxies", "socks5", false},
	{"a mark of mode full", do(func(m *machine) { m.write(m.paths().ProxyManaged(), "") }), "sentinels", "proxy-managed", false},
	{"an old mark of a stop", do(func(m *machine) {
		m.write(m.paths().GracefulShutdown(), time.Now().Add(-time.Hour).UTC().Format(time.RFC3339Nano)+"\n")
	}), "sentinels", "expired", false},
	{"a mark of a stop in the future", do(func(m *machine) {
		m.write(m.paths().GracefulShutdown(), time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano)+"\n")
	}), "sentinels", "expired", false},
	{"half an installation", do(func(m *machine) { m.remove(m.paths().InstallMode()) }), "installation", "half of an installation", false},
	{"a mode that is none", do(func(m *machine) { m.write(m.paths().InstallMode(), "turbo\n") }), "installation", "turbo", false},
	{"a line in a shell file that the mode does not want", do(func(m *machine) {
		m.swap(filepath.Join(m.home, ".bashrc"), func(s string) string {
			return s + "# >>> halton-meter >>>\neval old\n# <<< halton-meter <<<\n"
		})
	}), "shell files", "does not want", false},
	{"half a block in a shell file", func(m *machine) ([]string, func()) {
		return nil, m.swap(filepath.Join(m.home, ".bashrc"), func(s string) string { return s + "# >>> halton-meter >>>\n" })
	}, "shell files", "a beginning or an end only", false},
	{"a clock that was set back", func(m *machine) ([]string, func()) {
		set := func(at time.Time) {
			if err := os.Chtimes(m.paths().InstallMode(), at, at); err != nil {
				m.Fatal(err)
			}
		}
		set(time.Now().Add(48 * time.Hour))
		return nil, func() { set(time.Now()) }
	}, "clock", "set back", false},
	{"a launchd that refused a job", func(m *machine) ([]string, func()) {
		m.write(m.paths().Postmortem(), fmt.Sprintf(`{"time":%q,"label":%q,"attempts":[{"code":5,"stderr":"Input/output error"}]}`+"\n",
			time.Now().UTC().Format(time.RFC3339Nano), agents.Daemon))
		return nil, func() { m.remove(m.paths().Postmortem()) }
	}, "post-mortems", "Input/output error", false},
	{"a stranger on the daemon's port", func(m *machine) ([]string, func()) {
		rep, _ := m.status()
		m.must(0, "launchctl", "bootout", m.target(agents.Daemon))
		ln := m.listenOn(rep.Ports["internal"])
		return nil, func() { ln.Close() }
	}, "ports", "listens on", false},
	{"a stranger on the edge's port", func(m *machine) ([]string, func()) {
		port := agents.EdgePort(m.paths())
		m.must(0, "launchctl", "bootout", m.target(agents.Edge))
		ln := m.listenOn(port)
		return nil, func() { ln.Close() }
	}, "edge", "listens on the edge's port", true},
	{"no state directory", func(m *machine) ([]string, func()) {
		conf, err := os.ReadFile(m.paths().Config())
		if err != nil {
			m.Fatal(err)
		}
		m.remove(m.paths().State)
		return nil, func() { m.write(m.paths().Config(), string(conf)) }
	}, "installation", "half of an installation", false},
}

func (m *machine) chmod(path string, mode os.FileMode) {
	m.Helper()
	if err := os.Chmod(path, mode); err != nil {
		m.Fatal(err)
	}
}

// expireRoot signs the root anew, with an end in the past.
func (m *machine) expireRoot() {
	m.Helper()
	must := func(err error) {
		if err != nil {
			m.Fatal(err)
		}
	}
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(m.paths().CA(), name))
		must(err)
		block, _ := pem.Decode(data)
		return block.Bytes
	}
	root, err := x509.ParseCertificate(read("ca.pem"))
	must(err)
	parsed, err := x509.ParsePKCS8PrivateKey(read("ca-key.pem"))
	must(err)
	key := parsed.(*ecdsa.PrivateKey)
	root.NotBefore, root.NotAfter = time.Now().AddDate(-2, 0, 0), time.Now().AddDate(0, 0, -1)
	der, err := x509.CreateCertificate(rand.Reader, root, root, &key.PublicKey, key)
	must(err)
	m.write(filepath.Join(m.paths().CA(), "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

// The doctor of a machine without the meter says so and nothing else, and its
// plan sets it up.
func TestTheDoctorSetsUp(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	rep, code := m.doctor("--fix")
	if code != exitNotInstalled || len(rep.Findings) != 1 || rep.Findings[0].Next != "halton-meter init" {
		t.Errorf("exit code %d, %+v", code, rep)
	}
	r := m.must(0, "doctor", "--fix", "--apply")
	if !strings.Contains(r.out, "HEALTHY") {
		t.Errorf("it says %q", r.out)
	}
	m.must(exitUsage, "doctor", "--apply")
}
