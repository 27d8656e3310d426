package launchd_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
	"github.com/haltonlabs/halton-meter/launchd/launchdtest"
)

// machine is a private launchd and one agent on it.
type machine struct {
	*launchdtest.Emulator
	t      *testing.T
	client *launchd.Client
	domain launchd.DomainTarget
	target launchd.ServiceTarget
	path   string
	job    *launchd.Job
}

func newMachine(t *testing.T, knobs emulator.Knobs) *machine {
	t.Helper()
	m := &machine{Emulator: launchdtest.Start(t, knobs), t: t, domain: launchd.GUI(os.Getuid())}
	m.client, m.path = m.Client(), filepath.Join(t.TempDir(), "LaunchAgents", label+".plist")
	var err error
	if m.target, err = m.domain.Service(label); err != nil {
		t.Fatal(err)
	}
	m.job = &launchd.Job{
		Label: label, ProgramArguments: []string{"/bin/sh", "-c", "exec sleep 1000"},
		KeepAlive: launchd.AlwaysOn(), ThrottleInterval: new(1),
	}
	return m
}

func (m *machine) apply() launchd.ApplyResult {
	m.t.Helper()
	res, err := m.client.Apply(m.t.Context(), m.domain, m.path, m.job, launchd.LoadOptions{Budget: time.Minute})
	if err != nil {
		m.t.Fatal(err)
	}
	return res
}

func (m *machine) print() *launchd.Service {
	m.t.Helper()
	svc, err := m.client.Print(m.t.Context(), m.target)
	if err != nil {
		m.t.Fatal(err)
	}
	return svc
}

// is notes a result that differs in what Apply had to do.
func (m *machine) is(got launchd.ApplyResult, wrote, unchanged bool, replaced string) {
	m.t.Helper()
	if got.Wrote != wrote || got.Unchanged != unchanged || got.AlreadyLoaded != unchanged || got.Replaced != replaced {
		m.t.Errorf("result = %+v, want Wrote %v, Unchanged %v, Replaced %q", got, wrote, unchanged, replaced)
	}
}

func TestApplyIsIdempotent(t *testing.T) {
	m := newMachine(t, emulator.Knobs{})
	m.is(m.apply(), true, false, "")
	first := m.print()
	if first.PID == 0 || first.Path != m.path {
		t.Fatalf("service = %+v, want it to run", first)
	}
	m.is(m.apply(), false, true, "")
	if m.print().PID != first.PID {
		t.Error("an unchanged job was restarted")
	}
	m.job.EnvironmentVariables = map[string]string{"VERSION": "2"}
	m.is(m.apply(), true, false, "")
	if svc := m.print(); svc.PID == first.PID || svc.Environment["VERSION"] != "2" {
		t.Errorf("service = %+v, want the changed job", svc)
	}
	if err := m.client.Bootout(t.Context(), m.target); err != nil {
		t.Fatal(err)
	}
	m.is(m.apply(), false, false, "")

	old := m.path
	m.path = filepath.Join(t.TempDir(), "agent.plist")
	m.is(m.apply(), true, false, old)
	if svc := m.print(); svc.Path != m.path {
		t.Errorf("loaded from %s", svc.Path)
	}
}

func TestApplyOfADisabledJob(t *testing.T) {
	m := newMachine(t, emulator.Knobs{})
	for _, want := range []bool{false, true} { // not loaded, and loaded
		if err := m.client.Disable(t.Context(), m.target); err != nil {
			t.Fatal(err)
		}
		if got := m.apply(); got.Unchanged != want {
			t.Errorf("result = %+v", got)
		}
		if all, err := m.client.PrintDisabled(t.Context(), m.domain); all[label] || err != nil {
			t.Errorf("disabled = %v, %v", all, err)
		}
	}
}

func TestApplyWhileTheJobIsTornDown(t *testing.T) {
	m := newMachine(t, emulator.Knobs{TeardownDelay: 300 * time.Millisecond})
	m.apply()
	pid := m.print().PID
	if r := m.Run("bootout", m.target.String()); r.Code != 0 {
		t.Fatalf("bootout = %+v", r)
	}
	m.is(m.apply(), false, false, "")
	if svc := m.print(); svc.PID == pid || svc.Draining() {
		t.Errorf("service = %+v", svc)
	}
}

func TestApplyOfAnInvalidJobTouchesNothing(t *testing.T) {
	m := newMachine(t, emulator.Knobs{})
	m.apply()
	pid := m.print().PID
	m.job.ThrottleInterval = new(0)
	_, err := m.client.Apply(t.Context(), m.domain, m.path, m.job, launchd.LoadOptions{})
	var p launchd.Problem
	if !errors.Is(err, launchd.ErrBadPlist) || !errors.As(err, &p) || p.Key != "ThrottleInterval" {
		t.Errorf("error = %v", err)
	}
	if m.print().PID != pid {
		t.Error("the job was touched")
	}
}

func TestApplyThatCannotWriteRestores(t *testing.T) {
	m := newMachine(t, emulator.Knobs{})
	m.apply()
	old := m.path
	m.path = t.TempDir() // a directory cannot be replaced by a file
	if _, err := m.client.Apply(t.Context(), m.domain, m.path, m.job, launchd.LoadOptions{}); err == nil {
		t.Error("no error")
	}
	if svc := m.print(); svc.Path != old || svc.PID == 0 {
		t.Errorf("service = %+v, want the old one", svc)
	}
}

func TestApplyWithoutASession(t *testing.T) {
	m := newMachine(t, emulator.Knobs{NoGUI: true})
	res, err := m.client.Apply(t.Context(), m.domain, m.path, m.job, launchd.LoadOptions{})
	if !errors.Is(err, launchd.ErrNoDomain) || !res.Wrote {
		t.Errorf("Apply = %+v, %v", res, err)
	}
	if err := launchd.CheckPlistFile(m.path, m.domain); err != nil {
		t.Error(err)
	}
	if err := m.client.Remove(t.Context(), m.target, m.path); !errors.Is(err, launchd.ErrNoDomain) {
		t.Errorf("Remove: %v", err)
	}
	if _, err := os.Stat(m.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the plist is there: %v", err)
	}
}

func TestApplyFromSeveralSides(t *testing.T) {
	m := newMachine(t, emulator.Knobs{})
	var wg sync.WaitGroup
	results := make([]launchd.ApplyResult, 4)
	for i := range results {
		wg.Go(func() {
			var err error
			if results[i], err = m.client.Apply(t.Context(), m.domain, m.path, m.job, launchd.LoadOptions{Budget: time.Minute}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	changed := 0
	for _, r := range results {
		if !r.Unchanged {
			changed++
		}
	}
	if changed != 1 {
		t.Errorf("%d of 4 loaded the job, want 1: %+v", changed, results)
	}
}

func TestRestartAndRemove(t *testing.T) {
	m := newMachine(t, emulator.Knobs{})
	if _, err := m.client.Restart(t.Context(), m.target); !errors.Is(err, launchd.ErrNotLoaded) {
		t.Errorf("Restart of nothing: %v", err)
	}
	if err := m.client.Remove(t.Context(), m.target, m.path); err != nil {
		t.Errorf("Remove of nothing: %v", err)
	}
	if _, err := os.Lstat(filepath.Dir(m.path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Remove of nothing made the directory: %v", err)
	}
	m.job.ThrottleInterval = new(1)
	m.apply()
	before := m.print().PID
	pid, err := m.client.Restart(t.Context(), m.target)
	if err != nil || pid == before || pid == 0 {
		t.Errorf("Restart = %d, %v; it was %d", pid, err, before)
	}
	for range 2 {
		if err := m.client.Remove(t.Context(), m.target, m.path); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.client.Print(t.Context(), m.target); !errors.Is(err, launchd.ErrNotLoaded) {
		t.Errorf("Print: %v", err)
	}
	if _, err := os.Stat(m.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the plist is there: %v", err)
	}
}

func TestRestartTriesAgain(t *testing.T) {
	running := printed(t, "running", "/x")
	slow := said(strings.Replace(string(running.Stdout), "exit timeout = 5", "exit timeout = 90", 1))
	tests := map[string]struct {
		print     launchd.Output
		kickstart []launchd.Output
		took      time.Duration
		pid       int
		want      error
	}{
		"5, then done":  {running, []launchd.Output{exit(5, ""), said("7\n")}, 200 * time.Millisecond, 7, nil},
		"always 37":     {running, []launchd.Output{exit(37, "")}, 6200 * time.Millisecond, 0, launchd.ErrInFlux},
		"not permitted": {running, []launchd.Output{exit(150, "")}, 0, 0, launchd.ErrPolicy},
		"hangs":         {slow, []launchd.Output{{Code: hang}}, 105 * time.Second, 0, launchd.ErrNoAnswer},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &standIn{t: t, answers: map[string]func() launchd.Output{"print": always(tt.print), "kickstart": inTurn(tt.kickstart...)}}
				start := time.Now()
				pid, err := s.client().Restart(t.Context(), target(t))
				if took := time.Since(start); pid != tt.pid || !errors.Is(err, tt.want) || took != tt.took {
					t.Errorf("Restart = %d, %v after %s, want %d, %v after %s", pid, err, took, tt.pid, tt.want, tt.took)
				}
			})
		})
	}
}
