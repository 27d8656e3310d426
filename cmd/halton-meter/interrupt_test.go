package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/doctor"
)

// pointsVariable sets another number of points than a test has time for.
const pointsVariable = "HALTON_METER_TEST_POINTS"

// interruptPoints is how often each kind of command is interrupted.
func interruptPoints(t *testing.T) int {
	t.Helper()
	v := os.Getenv(pointsVariable)
	if v == "" {
		return 2
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// interrupt runs the program and sends it the signal after a while, unless it
// is done by then. It may end as it likes.
func (m *machine) interrupt(signal syscall.Signal, after time.Duration, args ...string) {
	m.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env, cmd.Dir = m.env, m.home
	// A terminal's group of its own, as a closed window ends it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		m.Fatal(err)
	}
	timer := time.AfterFunc(after, func() {
		// The whole group: also a launchctl that is at work for the command.
		if err := syscall.Kill(-cmd.Process.Pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			m.Error(err)
		}
	})
	defer timer.Stop()
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		m.Fatal(err)
	}
}

// whole fails the test if the command that is to make everything whole again
// does not.
func (m *machine) whole(what string, signal syscall.Signal, after time.Duration, args ...string) bool {
	m.Helper()
	r := m.halton(args...)
	if r.code != 0 {
		m.Errorf("%s, %v after %s: then %v: exit code %d\n%s%s", what, signal, after, args, r.code, r.out, r.err)
		return false
	}
	rep, code := m.doctor()
	if code == 0 {
		return true
	}
	for _, f := range rep.Findings {
		if f.Verdict != doctor.Healthy {
			m.Errorf("%s, %v after %s: then %v: %s: %s: %s", what, signal, after, args, f.Check, f.Verdict, f.Evidence)
		}
	}
	return false
}

// A command that is cut off at any point, by whatever signal, leaves nothing
// that the next init or start does not make whole.
func TestInterruptedCommands(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.env = append(m.env, "SHELL=/bin/bash")
	m.must(0, "init")
	signals := []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP}
	cases := []struct {
		before     []string // nil: nothing
		cut, after []string
	}{
		{cut: []string{"init", "--apps"}, after: []string{"init", "--apps"}},
		{cut: []string{"init", "--env-only"}, after: []string{"init", "--env-only"}},
		{cut: []string{"stop"}, after: []string{"start"}},
		{before: []string{"stop"}, cut: []string{"start"}, after: []string{"start"}},
		{cut: []string{"uninstall", "--no-graceful"}, after: []string{"init", "--apps"}},
		{before: []string{"uninstall", "--no-graceful"}, cut: []string{"init", "--apps"}, after: []string{"init"}},
	}
	for _, c := range cases {
		// How long it takes on this machine, now.
		prepare := func() {
			if c.before != nil {
				m.must(0, c.before...)
			}
		}
		prepare()
		began := time.Now()
		m.must(0, c.cut...)
		usual := time.Since(began)
		m.must(0, c.after...)
		for i := range interruptPoints(t) {
			prepare()
			signal := signals[(i+rand.IntN(2))%len(signals)]
			after := time.Duration(rand.Int64N(int64(usual)))
			m.interrupt(signal, after, c.cut...)
			if !m.whole("halton-meter "+c.cut[0], signal, after, c.after...) {
				return
			}
		}
	}
}

// Two commands at once wait for each other, and all is whole in the end.
func TestTwoCommandsAtOnce(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	for _, pair := range [][2][]string{
		{{"init"}, {"start"}},
		{{"stop"}, {"start"}},
		{{"init", "--apps"}, {"init", "--env-only"}},
		{{"uninstall", "--no-graceful"}, {"init"}},
	} {
		done := make(chan result)
		for _, args := range pair {
			go func() { done <- m.halton(args...) }()
		}
		for range pair {
			if r := <-done; r.code != 0 && r.code != exitNotInstalled {
				t.Errorf("%v at once: exit code %d\n%s%s", pair, r.code, r.out, r.err)
			}
		}
		m.whole("two at once", 0, 0, "init", "--env-only")
	}
}
