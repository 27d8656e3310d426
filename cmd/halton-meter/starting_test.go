package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
)

// suspend stops a job's process, and waits until it has stopped: the signal goes
// to one of its threads, and until that one runs the others go on.
func (m *machine) suspend(job string) {
	m.Helper()
	m.signal(job, syscall.SIGSTOP)
	rep, _ := m.status()
	pid := strconv.Itoa(rep.component(job).PID)
	m.waitFor("the "+job+" to stop", func() bool {
		state, err := exec.CommandContext(m.Context(), "ps", "-o", "state=", "-p", pid).Output()
		if err != nil {
			m.Fatal(err)
		}
		return strings.HasPrefix(strings.TrimSpace(string(state)), "T")
	})
}

// A hung edge serves nobody: start ends it, and launchd, which has the port,
// starts another.
func TestStartRestartsAHungEdge(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.env = append(m.env, "SHELL=/bin/bash")
	m.must(0, "init", "--apps")
	before, _ := m.status()
	m.suspend("edge")
	r := m.must(0, "start")
	if !strings.Contains(r.out, "restarted, since it did not answer") {
		t.Errorf("start says %q", r.out)
	}
	if strings.Contains(r.err, "HTTPS_PROXY") {
		t.Errorf("start warns of our own variables, which it has made good: %q", r.err)
	}
	after, code := m.status()
	if was, is := before.component("edge").PID, after.component("edge").PID; code != 0 || was == is {
		t.Errorf("status: exit code %d, the edge is process %d, was %d", code, is, was)
	}
}

// A plist of another version is written anew before it is loaded; that of a job
// which runs is left to init, and told.
func TestStartWithPlistsOfAnotherVersion(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.installed()
	older := func(label string) {
		t.Helper()
		text, err := os.ReadFile(m.paths().Plist(label))
		if err != nil {
			t.Fatal(err)
		}
		m.write(m.paths().Plist(label), strings.ReplaceAll(string(text), "16384", "8192"))
	}
	older(agents.Daemon)
	if err := os.Remove(m.paths().Plist(agents.Watchdog)); err != nil {
		t.Fatal(err)
	}
	m.must(0, "start")
	m.wantHealthy("not loaded")
	older(agents.Watchdog)
	if r := m.must(0, "start"); !strings.Contains(r.err, "the watchdog runs with the plist of another version") {
		t.Errorf("start says %q", r.err)
	}
	m.must(0, "init")
	m.wantHealthy("renewed")
}

// A daemon that something starts right after a stop stays down for its sake,
// and not for a fault.
func TestStatusAfterAStop(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "init")
	m.must(0, "stop")
	m.must(0, "launchctl", "bootstrap", strings.TrimSuffix(m.target(""), "/"), m.paths().Plist(agents.Daemon))
	m.must(0, "launchctl", "kickstart", m.target(agents.Daemon))
	m.waitFor("the daemon to stay down", func() bool {
		rep, _ := m.status()
		c := rep.component("daemon")
		return c.PID == 0 && strings.Contains(c.Detail, "exited with code 0")
	})
	if rep, _ := m.status(); !strings.HasPrefix(rep.Metering.Reason, "halton-meter stop") {
		t.Errorf("the reason is %q", rep.Metering.Reason)
	}
	// A clock that was set back leaves a stop in the future.
	m.write(m.paths().GracefulShutdown(), "2999-01-01T00:00:00Z\n")
	if rep, _ := m.status(); rep.Metering.Since != nil && rep.Metering.Since.Year() == 2999 {
		t.Errorf("off since %v", rep.Metering.Since)
	}
}

// A launchctl that hangs is asked once, and not for each job.
func TestStatusOfAHungSupervisor(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "init")
	asked := filepath.Join(m.home, "asked")
	hung := filepath.Join(m.home, "hung")
	m.write(hung, "#!/bin/sh\necho x >>'"+asked+"'\nexec sleep 1000\n")
	if err := os.Chmod(hung, 0o700); err != nil {
		t.Fatal(err)
	}
	r := m.haltonWith([]string{"HALTON_METER_LAUNCHCTL=" + hung}, "status")
	if r.code != 0 || !strings.Contains(r.out, "cannot be asked") || !strings.Contains(r.out, "metering on") {
		t.Errorf("status says %s", r.out)
	}
	if n, err := os.ReadFile(asked); err != nil || len(n) != len("x\n") {
		t.Errorf("asked %d times, %v", len(n)/2, err)
	}
}

// Without a HOME nothing of ours is found; the command runs all the same, and
// no shell fails.
func TestWithoutAHome(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	bare := func(env []string, args ...string) result {
		return m.build("env", nil, slices.Concat([]string{"-i"}, env, []string{program}, args)...)
	}
	for _, env := range [][]string{{"PATH=/usr/bin:/bin"}, {"PATH=/usr/bin:/bin", "HOME=/", "HALTON_METER_HOME=relative"}} {
		if r := bare(env, "run", "--", "sh", "-c", "echo ran; exit 7"); r.code != 7 || r.out != "ran\n" || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%q: run: exit code %d, %q, %q", env, r.code, r.out, r.err)
		}
		if r := bare(env, "env"); r.code != 0 || r.out+r.err != "" {
			t.Errorf("%q: env: exit code %d, %q, %q", env, r.code, r.out, r.err)
		}
		if r := bare(env, "status"); r.code != exitFailed || !strings.Contains(r.err, "HOME") {
			t.Errorf("%q: status: exit code %d, %q", env, r.code, r.err)
		}
	}
}

// A state directory of another name does not take the launch agents from the
// installation that has them.
func TestASecondStateDirectory(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "init")
	second := []string{"HALTON_METER_HOME=" + filepath.Join(m.home, "second")}
	for _, command := range []string{"start", "init"} {
		r := m.haltonWith(second, command)
		if r.code != exitFailed || !strings.Contains(r.err, m.paths().State) {
			t.Errorf("%s: exit code %d, %q", command, r.code, r.err)
		}
	}
	m.wantHealthy("afterwards")
	link := filepath.Join(m.home, "link")
	if err := os.Symlink(m.paths().State, link); err != nil {
		t.Fatal(err)
	}
	if r := m.haltonWith([]string{"HALTON_METER_HOME=" + link}, "init"); r.code != 0 {
		t.Errorf("by another path: exit code %d, %q", r.code, r.err)
	}
	m.must(0, "init")
}

// A reader that goes away does not end a command half through.
func TestNobodyReads(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	for _, command := range []string{"init", "stop", "start"} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		var errs bytes.Buffer
		cmd := exec.CommandContext(t.Context(), program, command)
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = m.home, m.env, w, &errs
		err = cmd.Run()
		w.Close()
		if err != nil {
			t.Errorf("%s | true: %v, %s", command, err, &errs)
		}
	}
	if _, code := m.status(); code != 0 {
		t.Errorf("status: exit code %d", code)
	}

	// A reader that does not read holds no login up.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	fill(t, w)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "start", "--quiet")
	cmd.Dir, cmd.Env, cmd.Stdout = m.home, m.env, w
	if err := cmd.Run(); err != nil {
		t.Errorf("start --quiet into a full pipe: %v, %v", err, ctx.Err())
	}
}

// fill writes into the pipe until it takes no more.
func fill(t *testing.T, w *os.File) {
	t.Helper()
	if err := w.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	for {
		_, err := io.WriteString(w, strings.Repeat("x", 4096))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// The edge keeps its port at a start, whatever the configuration says by now;
// init moves it, and tells who holds the old one.
func TestAnotherPortForTheEdge(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "init")
	before := agents.EdgePort(m.paths())
	conf, err := os.ReadFile(m.paths().Config())
	if err != nil {
		t.Fatal(err)
	}
	want := freePort(t)
	m.write(m.paths().Config(), strings.Replace(string(conf), "edge_port = "+strconv.Itoa(before), "edge_port = "+strconv.Itoa(want), 1))
	if r := m.must(0, "start"); !strings.Contains(r.err, "halton-meter init moves it") || agents.EdgePort(m.paths()) != before {
		t.Errorf("start says %q, the edge is on %d", r.err, agents.EdgePort(m.paths()))
	}
	if r := m.must(0, "init"); !strings.Contains(r.out, "it was on "+strconv.Itoa(before)) || agents.EdgePort(m.paths()) != want {
		t.Errorf("init says %q, the edge is on %d", r.out, agents.EdgePort(m.paths()))
	}
	m.wantHealthy("moved")
}

// What keeps the daemon from coming up keeps the edge from nothing.
func TestStartBringsUpTheEdgeInAnyCase(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "init")
	m.must(0, "stop")
	key := filepath.Join(m.paths().CA(), "ca-key.pem")
	for name, spoil := range map[string]func() error{
		"broken configuration": func() error { return os.WriteFile(m.paths().Config(), []byte("[daemon\n"), 0o600) },
		"exposed key":          func() error { return os.Chmod(key, 0o644) },
	} {
		conf, err := os.ReadFile(m.paths().Config())
		if err := errors.Join(err, spoil()); err != nil {
			t.Fatal(err)
		}
		m.must(0, "launchctl", "bootout", m.target(agents.Edge))
		for _, args := range [][]string{{"start"}, {"start", "--quiet"}} {
			if r := m.halton(args...); r.code != exitFailed {
				t.Errorf("%s: %v: exit code %d, %q", name, args, r.code, r.err)
			}
			rep, _ := m.status()
			if c := rep.component("edge"); c.State != "up" {
				t.Errorf("%s: %v leaves the edge %s", name, args, c.State)
			}
		}
		m.write(m.paths().Config(), string(conf))
		if err := os.Chmod(key, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m.must(0, "start")
	m.wantHealthy("mended")
}

// A directory of the user's is nothing to move into.
func TestNoStateAmongOthersFiles(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "")
	work := filepath.Join(m.home, "work")
	m.write(filepath.Join(work, "thesis.tex"), "mine")
	m.chmod(work, 0o755)
	env := []string{"HALTON_METER_HOME=" + work}
	for _, command := range []string{"init", "start"} {
		r := m.haltonWith(env, command)
		if r.code != exitFailed || !strings.Contains(r.err, "none of the meter's") || !strings.Contains(r.err, "hint: ") {
			t.Errorf("%s: exit code %d, says %q", command, r.code, r.err)
		}
	}
	st, err := os.Stat(work)
	if err != nil || st.Mode().Perm() != 0o755 || len(m.files(work)) != 1 {
		t.Errorf("%v, %v; %q", st.Mode(), err, m.files(work))
	}
}
