package launchd_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
)

// A bootout without a wait, as other programs do it, and a bootstrap at once:
// it ends loaded each time, and no attempt is made while the label is taken
// for sure.
func TestBootoutThenBootstrap(t *testing.T) {
	m := newMachine(t, emulator.Knobs{TeardownDelay: 50 * time.Millisecond})
	m.apply()
	for i := range 5 {
		before := m.print().PID
		if r := m.Run("bootout", m.target.String()); r.Code != 0 {
			t.Fatalf("bootout = %+v", r)
		}
		res, err := m.client.Load(t.Context(), m.domain, m.path, launchd.LoadOptions{Budget: time.Minute})
		if err != nil || res.AlreadyLoaded {
			t.Fatalf("round %d: Load = %+v, %v", i, res, err)
		}
		if len(res.Attempts) > 2 {
			t.Errorf("round %d: %d bootstraps failed: %+v", i, len(res.Attempts), res.Attempts)
		}
		if pid := m.print().PID; pid == 0 || pid == before {
			t.Fatalf("round %d: pid %d after %d", i, pid, before)
		}
	}
}

// What launchd itself refuses for good is refused at once, with its cause.
func TestPermanentErrorsAreNotRetried(t *testing.T) {
	tests := map[string]struct {
		knobs emulator.Knobs
		spoil func(m *machine) error
		want  error
	}{
		"writable by others": {spoil: func(m *machine) error { return os.Chmod(m.path, 0o666) }, want: launchd.ErrBadPlist},
		"precise errors": {knobs: emulator.Knobs{PreciseErrors: true}, want: launchd.ErrBadPlist, spoil: func(m *machine) error {
			return os.Chmod(m.path, 0o666)
		}},
		"nothing to run": {want: launchd.ErrBadPlist, spoil: func(m *machine) error {
			data, err := (&launchd.Job{Label: label}).Encode()
			return errors.Join(err, os.WriteFile(m.path, data, 0o600))
		}},
		"missing program": {want: launchd.ErrBadPlist, spoil: func(m *machine) error {
			data, err := (&launchd.Job{Label: label, Program: "/nonexistent", RunAtLoad: new(true)}).Encode()
			return errors.Join(err, os.WriteFile(m.path, data, 0o600))
		}},
		"program that is none": {want: launchd.ErrBadPlist, spoil: func(m *machine) error {
			data, err := (&launchd.Job{Label: label, Program: "/", RunAtLoad: new(true)}).Encode()
			return errors.Join(err, os.WriteFile(m.path, data, 0o600))
		}},
		"no session": {knobs: emulator.Knobs{NoGUI: true}, want: launchd.ErrNoDomain, spoil: func(*machine) error { return nil }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, tt.knobs)
			if err := os.MkdirAll(filepath.Dir(m.path), 0o700); err != nil {
				t.Fatal(err)
			}
			if _, err := m.job.WriteFile(m.path); err != nil {
				t.Fatal(err)
			}
			if err := tt.spoil(m); err != nil {
				t.Fatal(err)
			}
			res, err := m.client.Load(t.Context(), m.domain, m.path, launchd.LoadOptions{Budget: time.Hour})
			if !errors.Is(err, tt.want) || len(res.Attempts) > 1 {
				t.Errorf("Load = %+v, %v, want %v after one attempt", res, err, tt.want)
			}
		})
	}
}

// launchd that puts starts off is asked for one.
func TestPendedSpawnIsDemanded(t *testing.T) {
	for _, reason := range []string{"speculative", "inefficient"} {
		t.Run(reason, func(t *testing.T) {
			m := newMachine(t, emulator.Knobs{PendSpawns: reason})
			m.apply()
			if svc := m.print(); svc.PID == 0 {
				t.Errorf("service = %+v, want a process", svc)
			}
			why, err := m.client.Blame(t.Context(), m.target)
			if why != "non-ipc demand" || err != nil {
				t.Errorf("Blame = %s, %v", strconv.Quote(why), err)
			}
		})
	}
}
