package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What "start --quiet" finds in a shell's start-up file may be anything: it
// says one line, changes no shell, and the shell goes on.
func TestQuietStartInABrokenPlace(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "init")
	const mayExhaustItsBudget = -1 // on a busy machine
	one := func(state string, code int) {
		t.Helper()
		r := m.halton("start", "--quiet")
		if strings.Count(r.out+r.err, "\n") != 1 || !strings.HasPrefix(r.out+r.err, "halton-meter: ") ||
			(r.code == 0) != (r.err == "") || code != mayExhaustItsBudget && r.code != code {
			t.Errorf("%s: exit code %d, prints %q and %q", state, r.code, r.out, r.err)
		}
	}
	one("all is up", 0)
	rep, _ := m.status()
	if err := syscall.Kill(rep.component("daemon").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	one("the daemon is dead", mayExhaustItsBudget)
	m.must(0, "start")

	rep, _ = m.status()
	hung := rep.component("daemon").PID
	m.suspend("daemon")
	one("the daemon hangs", 1)
	if err := syscall.Kill(hung, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	m.waitFor("the daemon to answer again", func() bool { _, code := m.status(); return code == 0 })

	m.must(0, "stop")
	config, err := os.ReadFile(m.paths().Config())
	if err != nil {
		t.Fatal(err)
	}
	m.write(m.paths().Config(), "[daemon\nnot TOML\n\"")
	one("the configuration is broken", 1)
	m.write(m.paths().Config(), string(config))
	plists := filepath.Dir(m.paths().Plist("x"))
	if err := os.Rename(plists, plists+".away"); err != nil {
		t.Fatal(err)
	}
	one("the plists are gone", 1)
	if err := os.Rename(plists+".away", plists); err != nil {
		t.Fatal(err)
	}
	one("all is well again", mayExhaustItsBudget)
}

// A start-up file of a shell that ends at the first error.
func TestQuietStartInAStartUpFile(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.write(filepath.Join(m.home, "rc"), "set -e\n"+program+" start --quiet 2>/dev/null || true\n")
	shell := func() string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", ". ./rc; echo goes on")
		cmd.Dir, cmd.Env = m.home, m.env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	if got := shell(); got != "goes on\n" {
		t.Errorf("nothing is set up: %q", got)
	}
	m.installed()
	// Two terminals at once: each says at most one line, and both go on.
	done := make(chan string)
	for range 2 {
		go func() { done <- shell() }()
	}
	for range 2 {
		if got := <-done; strings.Count(got, "metering on") > 1 || !strings.HasSuffix(got, "goes on\n") {
			t.Errorf("two at once: %q", got)
		}
	}
}
