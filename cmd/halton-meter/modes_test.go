package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/doctor"
)

// withMac gives the machine the tools of a Mac with two network services, and
// returns their folder.
func (m *machine) withMac() string {
	m.Helper()
	dir := filepath.Join(m.home, "mac")
	if err := os.CopyFS(dir, os.DirFS("testdata/mac")); err != nil {
		m.Fatal(err)
	}
	for _, tool := range []string{"networksetup", "security", "scutil"} {
		if err := os.Chmod(filepath.Join(dir, tool), 0o700); err != nil {
			m.Fatal(err)
		}
	}
	m.write(filepath.Join(dir, "state", "USB LAN", "bypass"), "*.local\n")
	m.write(filepath.Join(dir, "state", "Wi-Fi", "bypass"), "*.local\n169.254/16\n")
	m.env = append(m.env, "HALTON_METER_MACTOOLS="+dir)
	return dir
}

// files are the contents of all files beneath a folder, by path.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		got[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// settings are the network settings in which a disabled proxy of ours that
// stays in its field, as macOS keeps it, does not count.
func (m *machine) settings(mac string) map[string]string {
	got := files(m.T, filepath.Join(mac, "state"))
	for path, v := range got {
		kind, ok := strings.CutSuffix(path, ".on")
		if ok && v == "No" {
			delete(got, path)
			delete(got, kind+".server")
			delete(got, kind+".port")
		}
	}
	return got
}

// shell runs a script in a shell that has read its start-up file.
func (m *machine) shell(script string) string {
	m.Helper()
	cmd := exec.CommandContext(m.Context(), "/bin/sh", "-c", ". ./.bashrc\n"+script)
	cmd.Dir, cmd.Env = m.home, m.env
	out, err := cmd.Output()
	if err != nil {
		m.Fatalf("shell: %v", err)
	}
	return strings.TrimSpace(string(out))
}

func (m *machine) doctor(args ...string) (doctor.Report, int) {
	m.Helper()
	return m.doctorWith(nil, args...)
}

func (m *machine) doctorWith(env []string, args ...string) (doctor.Report, int) {
	m.Helper()
	r := m.haltonWith(env, append([]string{"doctor", "--json"}, args...)...)
	var rep doctor.Report
	if err := json.Unmarshal([]byte(r.out), &rep); err != nil {
		m.Fatalf("doctor --json: %v\n%s%s", err, r.out, r.err)
	}
	return rep, r.code
}

// wantHealthy fails with what the doctor found.
func (m *machine) wantHealthy(when string) {
	m.Helper()
	rep, code := m.doctor()
	for _, f := range rep.Findings {
		if f.Verdict != doctor.Healthy {
			m.Errorf("%s: %s: %s: %s", when, f.Check, f.Verdict, f.Evidence)
		}
	}
	if code != 0 {
		m.Errorf("%s: doctor: exit code %d", when, code)
	}
}

// Each mode does what it says, the next takes back what it does not want, and
// in the end nothing is left.
func TestModesComeAndGo(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	mac := m.withMac()
	m.env = append(m.env, "SHELL=/bin/bash")
	m.write(filepath.Join(m.home, ".bashrc"), "FROM_RC=yes")
	m.write(filepath.Join(m.home, ".zshrc"), "# mine\n")
	homeBefore, netBefore := files(t, m.home), m.settings(mac)
	delete(homeBefore, "mac/calls")
	m.must(0, "init", "--apps")
	m.wantHealthy("apps")
	proxy := "http://" + agents.EdgeAddress(agents.EdgePort(m.paths()))
	if got := m.shell(`echo "$FROM_RC $HTTPS_PROXY $NODE_EXTRA_CA_CERTS"`); got != "yes "+proxy+" "+m.paths().Bundle() {
		t.Errorf("apps: a new shell has %q", got)
	}
	if got := strings.TrimSpace(m.must(0, "launchctl", "getenv", "HTTPS_PROXY").out); got != proxy {
		t.Errorf("apps: launchd's environment has %q", got)
	}
	if diff := cmp.Diff(netBefore, m.settings(mac)); diff != "" {
		t.Errorf("apps: the network settings changed: %s", diff)
	}

	m.must(0, "init", "--full")
	m.wantHealthy("full")
	for _, service := range []string{"Wi-Fi", "USB LAN"} {
		s := m.settings(mac)
		if s[service+"/secure.on"] != "Yes" || s[service+"/secure.server"] != "127.0.0.1" || s[service+"/web.on"] != "Yes" {
			t.Errorf("full: %s: %v", service, s)
		}
	}
	if _, err := os.Stat(filepath.Join(mac, "keychain")); err != nil {
		t.Errorf("full: the root is not in the keychain: %v", err)
	}
	m.must(0, "init") // an upgrade: the mode stays
	if got := m.paths().Mode(); got != agents.ModeFull {
		t.Errorf("init without a flag went to mode %q", got)
	}

	m.must(0, "init", "--env-only")
	m.wantHealthy("env-only")
	if diff := cmp.Diff(netBefore, m.settings(mac)); diff != "" {
		t.Errorf("env-only: the network settings differ: %s", diff)
	}
	if got := m.shell(`echo "$HTTPS_PROXY"`); got != "" {
		t.Errorf("env-only: a new shell has %q", got)
	}

	m.must(0, "init", "--full")
	m.must(0, "uninstall", "--purge", "--include-logs", "--yes", "--no-graceful")
	homeAfter := files(t, m.home)
	delete(homeAfter, "mac/calls")
	for _, files := range []map[string]string{homeBefore, homeAfter} {
		for path := range files {
			if strings.HasPrefix(path, "mac/state/") || path == ".halton-meter/config.toml" {
				delete(files, path)
			}
		}
	}
	if diff := cmp.Diff(homeBefore, homeAfter); diff != "" {
		t.Errorf("uninstall: the home differs: %s", diff)
	}
	if diff := cmp.Diff(netBefore, m.settings(mac)); diff != "" {
		t.Errorf("uninstall: the network settings differ: %s", diff)
	}
	if _, err := os.Stat(m.paths().State); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("uninstall: the state directory: %v", err)
	}
}

// A new shell and a login lead nobody to an edge that does not answer.
func TestADeadEdgeIsNotPassedOn(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.env = append(m.env, "SHELL=/bin/bash")
	m.must(0, "init", "--apps")
	if m.shell(`echo "$HTTPS_PROXY"`) == "" {
		t.Fatal("a new shell has no proxy")
	}
	m.must(0, "launchctl", "bootout", m.target(agents.Edge))
	if got := m.shell(`echo "$HTTPS_PROXY$SSL_CERT_FILE"`); got != "" {
		t.Errorf("with the edge down a new shell has %q", got)
	}
	// A shell that inherited the variables loses them again, and only ours.
	if got := m.shell(`echo "$SSL_CERT_FILE"`); got != "" {
		t.Errorf("inherited: %q", got)
	}
	m.must(0, "start")
	if m.shell(`echo "$HTTPS_PROXY"`) == "" {
		t.Error("with the edge back a new shell has no proxy")
	}
}

// The watchdog takes the system proxy away when the daemon has died, and a
// start gives it back.
func TestTheWatchdogFreesTheSystemProxy(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	mac := m.withMac()
	// A Mac's jobs find the tools by themselves; these inherit from launchd.
	m.must(0, "launchctl", "setenv", "HALTON_METER_MACTOOLS", mac)
	m.must(0, "init", "--full")
	on := func() bool { return m.settings(mac)["Wi-Fi/secure.on"] == "Yes" }
	if !on() {
		t.Fatal("mode full did not set the system proxy")
	}
	rep, _ := m.status()
	if err := syscall.Kill(rep.component("daemon").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	m.waitFor("the watchdog frees the proxy", func() bool { return !on() })
	m.must(0, "start")
	m.waitFor("the proxy is back", on)
	m.wantHealthy("after it all")
}

// A PAC file cannot be gone through, so mode full is refused before anything
// has changed.
func TestModeFullRefusesAPACFile(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	mac := m.withMac()
	m.write(filepath.Join(mac, "state", "Wi-Fi", "auto.on"), "Yes")
	m.write(filepath.Join(mac, "state", "Wi-Fi", "auto.url"), "http://wpad.corp.example/proxy.pac")
	r := m.must(exitFailed, "init", "--full")
	if !strings.Contains(r.err, "PAC file") || !strings.Contains(r.err, "halton-meter init --apps") {
		t.Errorf("init --full says %q", r.err)
	}
	if _, err := os.Stat(m.paths().InstallMode()); err == nil {
		t.Error("something was installed")
	}
}

// A graceful uninstall leaves an edge that open shells can use.
func TestGracefulUninstall(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.env = append(m.env, "SHELL=/bin/bash")
	m.must(0, "init", "--apps")
	client := m.client("")
	m.must(0, "uninstall") // graceful is the default in this mode
	if _, err := m.play(client, 0); err != nil {
		t.Errorf("an open shell's call: %v", err)
	}
	m.must(0, "init", "--env-only")
	m.wantHealthy("installed again")
	m.must(0, "uninstall", "--graceful", "--purge", "--include-logs", "--yes")
	if _, err := m.play(client, 0); err != nil {
		t.Errorf("after the purge: %v", err)
	}
	// The edge goes with the session, of which launchd is the head.
	for _, p := range m.processes() {
		pid, _, _ := strings.Cut(p, " ")
		n, err := strconv.Atoi(pid)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(n, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Error(err)
		}
	}
}

// Rescue makes a machine whole whose jobs, plists and marks are gone.
func TestRescue(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(exitNotInstalled, "rescue")
	m.env = append(m.env, "SHELL=/bin/bash")
	m.must(0, "init", "--apps")
	if _, err := m.play(m.client(""), 0); err != nil {
		t.Fatal(err)
	}
	rows := len(m.export())
	root, err := os.ReadFile(filepath.Join(m.paths().CA(), "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{m.paths().InstallMode(), m.paths().Plist(agents.Edge), m.paths().Ports(), m.paths().Program()} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	m.must(0, "rescue")
	if got := m.paths().Mode(); got != agents.ModeApps {
		t.Errorf("mode %q", got)
	}
	m.wantHealthy("rescued")
	if got := len(m.export()); got != rows || rows == 0 {
		t.Errorf("%d rows, before %d", got, rows)
	}
	if now, err := os.ReadFile(filepath.Join(m.paths().CA(), "ca.pem")); err != nil || string(now) != string(root) {
		t.Errorf("the authority is another: %v", err)
	}
}

// A hung edge, which accepts and never answers, holds up neither a command nor
// a new shell for long: both go on without it.
func TestAHungEdgeIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	m.suspend("edge")
	defer m.signal("edge", syscall.SIGCONT)
	r := m.halton("run", "--", "sh", "-c", "echo proxy=$HTTPS_PROXY; exit 7")
	if r.code != 7 || r.out != "proxy=\n" || strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, "unmetered") {
		t.Errorf("run: exit code %d, %q, %q", r.code, r.out, r.err)
	}
	if r := m.must(0, "env"); r.out != "" {
		t.Errorf("env says %q", r.out)
	}
}
