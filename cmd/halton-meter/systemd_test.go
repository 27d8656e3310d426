package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/doctor"
)

// withSystemd gives the machine a systemctl that keeps state and starts real
// processes.
func (m *machine) withSystemd() {
	m.Helper()
	data, err := os.ReadFile("testdata/systemctl")
	if err != nil {
		m.Fatal(err)
	}
	bin := filepath.Join(m.home, "bin")
	m.write(filepath.Join(bin, "systemctl"), string(data))
	if err := os.Chmod(filepath.Join(bin, "systemctl"), 0o700); err != nil {
		m.Fatal(err)
	}
	for i, kv := range m.env {
		if path, ok := strings.CutPrefix(kv, "PATH="); ok {
			m.env[i] = "PATH=" + bin + ":" + path
		}
	}
	m.env = append(m.env, "XDG_RUNTIME_DIR="+m.home)
}

// listing is every path beneath the home but the stand-in's own state.
func (m *machine) listing() []string {
	m.Helper()
	var paths []string
	err := filepath.WalkDir(m.home, func(path string, e fs.DirEntry, err error) error {
		if e != nil && e.Name() == "systemctl-state" {
			return filepath.SkipDir
		}
		paths = append(paths, path)
		return err
	})
	if err != nil {
		m.Fatal(err)
	}
	return paths
}

// Under systemd everything works as under launchd: the edge comes back, the
// daemon does not, and nothing is left in the end.
func TestSystemd(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		return // there is no systemd
	}
	m := newMachine(t, freePorts(t))
	m.withSystemd()
	config, err := os.ReadFile(m.paths().Config())
	if err != nil {
		t.Fatal(err)
	}
	before := m.listing()
	m.must(0, "init", "--systemd", "--apps")
	rep, code := m.status()
	if code != 0 || rep.Supervisor != "systemd" {
		t.Errorf("status: exit code %d, supervisor %q", code, rep.Supervisor)
	}
	m.wantSupervisorHealthy("installed")
	if _, err := m.play(m.client(""), 0); err != nil {
		t.Error(err)
	}
	if got := strings.TrimSpace(m.must(0, "launchctl", "getenv", "HTTPS_PROXY").out); !strings.HasPrefix(got, "http://127.0.0.1:") {
		t.Errorf("systemd's environment has HTTPS_PROXY=%q", got)
	}

	edge := rep.component("edge").PID
	m.must(0, "init") // as after an upgrade: systemd stays, and so does the edge
	if rep, _ = m.status(); rep.Supervisor != "systemd" || rep.component("edge").PID != edge {
		t.Errorf("init again: supervisor %q, edge %d, before %d", rep.Supervisor, rep.component("edge").PID, edge)
	}
	for _, component := range []string{"edge", "daemon"} {
		if err := syscall.Kill(rep.component(component).PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	m.waitFor("the edge to be back", func() bool {
		now, code := m.status()
		pid := now.component("edge").PID
		return pid != 0 && pid != edge && now.component("edge").State == "up" && code == exitUnhealthy
	})
	if rep, _ = m.status(); !strings.Contains(rep.component("daemon").Detail, "Killed: 9") {
		t.Errorf("the dead daemon: %+v", rep.component("daemon"))
	}
	m.must(0, "start")
	m.must(0, "stop")
	if _, code := m.status(); code != exitNotInstalled {
		t.Errorf("stopped: status exits with %d", code)
	}
	m.must(0, "start")
	m.must(0, "uninstall", "--purge", "--include-logs", "--yes", "--no-graceful")
	m.write(m.paths().Config(), string(config))
	if diff := cmp.Diff(before, m.listing()); diff != "" {
		t.Errorf("left behind: %s", diff)
	}
}

// The jobs move to systemd and back.
func TestSystemdAndBack(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		return // there is no systemd
	}
	m := newMachine(t, freePorts(t))
	m.withSystemd()
	m.must(0, "init", "--apps")
	for _, flag := range []string{"--systemd", "--no-systemd"} {
		m.must(0, "init", flag)
		rep, code := m.status()
		if code != 0 || (rep.Supervisor == "systemd") != (flag == "--systemd") || rep.InstallMode != agents.ModeApps {
			t.Errorf("%s: exit code %d, supervisor %q, mode %q", flag, code, rep.Supervisor, rep.InstallMode)
		}
		m.wantSupervisorHealthy(flag)
	}
	if environment, err := os.ReadFile(filepath.Join(m.home, "systemctl-state", "environment")); err != nil || len(environment) > 0 {
		t.Errorf("systemd's environment still has %s, %v", environment, err)
	}
}

// A systemd that refuses the jobs does not get to keep the edge: shells that are
// open hold its port.
func TestSystemdRefuses(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		return // there is no systemd
	}
	m := newMachine(t, freePorts(t))
	m.withSystemd()
	m.must(0, "init", "--apps")
	systemctl := filepath.Join(m.home, "bin", "systemctl")
	whole, err := os.ReadFile(systemctl)
	if err != nil {
		t.Fatal(err)
	}
	m.write(systemctl, strings.Replace(string(whole), "\nset -u\n",
		"\nset -u\nfor word; do [ \"$word\" != enable ] || { echo 'Failed to enable unit: Access denied' >&2; exit 1; }; done\n", 1))
	r := m.must(exitFailed, "init", "--systemd")
	if !strings.Contains(r.err, "Access denied") || !strings.Contains(r.err, "supervised by emulator as before") {
		t.Errorf("init --systemd says %q", r.err)
	}
	m.wantHealthy("refused")
	if rep, _ := m.status(); rep.Supervisor != "emulator" || rep.InstallMode != agents.ModeApps {
		t.Errorf("supervisor %q, mode %q", rep.Supervisor, rep.InstallMode)
	}

	m.env = append(m.env, "PATH="+filepath.Join(m.home, "nowhere"))
	if r := m.must(exitFailed, "init", "--systemd"); !strings.Contains(r.err, "no systemctl") {
		t.Errorf("without systemctl it says %q", r.err)
	}
}

func (m *machine) wantSupervisorHealthy(when string) {
	m.Helper()
	rep, _ := m.doctor()
	for _, f := range rep.Findings {
		if (f.Check == "supervisor" || f.Check == "launch agents" || f.Check == "edge" || f.Check == "daemon") && f.Verdict != doctor.Healthy {
			m.Errorf("%s: %s: %s", when, f.Check, f.Evidence)
		}
	}
}

// Without a user manager, as over ssh, the next step is told.
func TestSystemdWithoutABus(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	if runtime.GOOS != "linux" {
		if r := m.must(exitUsage, "init", "--systemd"); !strings.Contains(r.err, "launchd") {
			t.Errorf("init --systemd says %q", r.err)
		}
		return
	}
	m.withSystemd()
	noBus := []string{"SYSTEMCTL_NO_BUS=1"}
	wantHint := func(r result, command string) {
		t.Helper()
		if r.code == 0 || !strings.Contains(r.err, "XDG_RUNTIME_DIR") || !strings.Contains(r.err, "loginctl enable-linger") {
			t.Errorf("%s: exit code %d, says %q", command, r.code, r.err)
		}
	}
	wantHint(m.haltonWith(noBus, "init", "--systemd"), "init --systemd")
	if _, err := os.Stat(m.paths().InstallMode()); err == nil {
		t.Error("something was installed")
	}
	m.must(0, "init", "--systemd")
	wantHint(m.haltonWith(noBus, "start"), "start")
	wantHint(m.haltonWith(noBus, "stop"), "stop")
}
