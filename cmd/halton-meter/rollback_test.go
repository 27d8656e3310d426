package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
)

// holdAPIPort takes the port without which no daemon starts.
func (m *machine) holdAPIPort() (release func()) {
	m.Helper()
	conf, err := config.Load(m.paths().Config())
	if err != nil {
		m.Fatal(err)
	}
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(conf.Daemon.APIPort)))
	if err != nil {
		m.Fatal(err)
	}
	return func() { ln.Close() }
}

// Where the daemon does not get up, init --clean leaves nothing of a new
// installation, and a plain init leaves what the next one goes on with.
func TestAFailedInstallation(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.env = append(m.env, "SHELL=/bin/bash")
	m.write(filepath.Join(m.home, ".bashrc"), "FROM_RC=yes")
	before := files(t, m.home)
	release := m.holdAPIPort()
	defer release()
	r := m.must(exitFailed, "init", "--apps", "--clean")
	if !strings.Contains(r.err, "rolled back, nothing is installed") || !strings.Contains(r.err, "pinned port is taken") {
		t.Errorf("init --clean says %q", r.err)
	}
	after := files(t, m.home)
	for path := range after {
		if strings.HasPrefix(path, ".halton-meter/") && path != ".halton-meter/install-mode" {
			delete(before, path)
			delete(after, path)
		}
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("what is left: %s", diff)
	}
	if left := m.processes(); len(left) != 0 {
		t.Errorf("processes are left: %q", left)
	}

	r = m.must(exitFailed, "init", "--apps")
	if !strings.Contains(r.err, "testing again") || !strings.Contains(r.err, "not working") {
		t.Errorf("init says %q", r.err)
	}
	if m.shell(`echo "$HTTPS_PROXY"`) == "" {
		t.Error("a new shell is not led through the edge, which serves")
	}
	release()
	m.must(0, "init")
	m.wantHealthy("with the port free")
	if got := m.paths().Mode(); got != agents.ModeApps {
		t.Errorf("mode %q", got)
	}
}

// An upgrade that fails its test is taken back with --clean: mode and program.
func TestAFailedUpgrade(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.env = append(m.env, "SHELL=/bin/bash")
	m.must(0, "init")
	m.must(0, "stop")
	old, err := os.ReadFile(m.paths().Program())
	if err != nil {
		t.Fatal(err)
	}
	release := m.holdAPIPort()
	defer release()
	fresh := filepath.Join(m.home, "fresh")
	// By another process: this one may be starting others just now, which hold
	// the file open for writing, and then it cannot be run.
	if err := exec.CommandContext(t.Context(), "sh", "-c", `cp "$1" "$2" && echo x >>"$2"`, "", program, fresh).Run(); err != nil {
		t.Fatal(err)
	}
	r := m.build(fresh, nil, "init", "--apps", "--clean")
	if r.code != exitFailed || !strings.Contains(r.err, "rolled back to mode env-only") {
		t.Errorf("init --clean: exit code %d, %q", r.code, r.err)
	}
	if now, err := os.ReadFile(m.paths().Program()); err != nil || string(now) != string(old) {
		t.Errorf("the program is not that of before: %v", err)
	}
	if kept, err := filepath.Glob(m.paths().Program() + ".*"); err != nil || len(kept) != 0 {
		t.Errorf("left: %q, %v", kept, err)
	}
	if _, err := os.Stat(filepath.Join(m.home, ".bashrc")); err == nil {
		t.Error("the shell's file is left")
	}
	release()
	if r := m.must(0, "start"); strings.Contains(r.err, "another halton-meter") {
		t.Errorf("start says %q", r.err)
	}
	m.wantHealthy("after the rollback")
	if r := m.build(fresh, nil, "start"); r.code != 0 || !strings.Contains(r.err, "another halton-meter") {
		t.Errorf("start of another program: exit code %d, %q", r.code, r.err)
	}
}

// A mode is installed as a whole or not at all: a user who says no to macOS, or
// who may not change the network, has the mode of before.
func TestADeclinedMode(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	mac := m.withMac()
	m.env = append(m.env, "SHELL=/bin/bash")
	m.must(0, "init", "--apps")
	before := m.settings(mac)
	for tool, refusal := range map[string]struct{ verb, answer, says string }{
		"security": {
			"add-trusted-cert", "echo 'SecTrustSettingsSetTrustSettings: The authorization was canceled by the user.' >&2; exit 1",
			"canceled by the user",
		},
		"networksetup": {
			"-setsecurewebproxy", "echo '** Error: Command requires admin privileges.'; exit 14",
			"an administrator must do this",
		},
	} {
		path := filepath.Join(mac, tool)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m.write(path, strings.Replace(string(whole), "\ncase \"$1\" in\n", "\ncase \"$1\" in\n"+refusal.verb+") "+refusal.answer+" ;;\n", 1))
		r := m.must(exitFailed, "init", "--full")
		if !strings.Contains(r.err, "the mode is apps") || !strings.Contains(r.err, refusal.says) {
			t.Errorf("%s: init --full says %q", tool, r.err)
		}
		if got := m.paths().Mode(); got != agents.ModeApps {
			t.Errorf("%s: mode %q", tool, got)
		}
		if diff := cmp.Diff(before, m.settings(mac)); diff != "" {
			t.Errorf("%s: the network settings: %s", tool, diff)
		}
		if _, err := os.Stat(filepath.Join(mac, "keychain")); err == nil {
			t.Errorf("%s: the keychain trusts us", tool)
		}
		m.write(path, string(whole))
		m.wantHealthy(tool)
	}
	m.must(0, "init", "--full")
	m.wantHealthy("full")
}
