package launchdtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/haltonlabs/halton-meter/launchd/emulator"
	"github.com/haltonlabs/halton-meter/launchd/launchdtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(agentEnv) != "" {
		os.Exit(agent())
	}
	launchdtest.Main(m)
}

func TestEmulatorConforms(t *testing.T) {
	for _, system := range []emulator.OS{emulator.MacOS12, emulator.MacOS13, emulator.MacOS15, emulator.MacOS26} {
		t.Run(fmt.Sprintf("macOS %d", system), func(t *testing.T) {
			t.Parallel()
			plain := launchctlOf(t, emulator.Knobs{OS: system})
			launchdtest.Conform(t, func(t *testing.T, knobs *emulator.Knobs) launchdtest.Subject {
				run := plain
				if knobs != nil {
					k := *knobs
					k.OS = system
					run = launchctlOf(t, k)
				}
				return launchdtest.Subject{Run: run, OS: system}
			}, launchdtest.Rows())
		})
	}
}

// launchctlOf runs launchctl on an emulator of its own: as a process for the
// newest system, and within this one for the others, which is much cheaper.
func launchctlOf(t *testing.T, knobs emulator.Knobs) func(args ...string) launchdtest.Result {
	t.Helper()
	e := launchdtest.Start(t, knobs)
	if knobs.OS == emulator.MacOS26 {
		return e.Run
	}
	e.Run("setenv", "SUPERVISOR", "started")
	l := emulator.Launchctl{Dir: e.Dir, Knobs: knobs}
	return func(args ...string) launchdtest.Result {
		var stdout, stderr bytes.Buffer
		// Not the test's context, which ends before its cleanups run.
		code := l.Run(context.Background(), args, &stdout, &stderr)
		return launchdtest.Result{Code: code, Stdout: stdout.String(), Stderr: stderr.String()}
	}
}

// TestLaunchctlConforms asks the launchctl that HALTON_CONFORMANCE names: on a
// Mac with a logged-in user, /bin/launchctl. Nothing else is real, so without
// the variable there is nobody to ask.
func TestLaunchctlConforms(t *testing.T) {
	paths := filepath.SplitList(os.Getenv("HALTON_CONFORMANCE"))
	if len(paths) == 0 {
		t.Skip("HALTON_CONFORMANCE names no launchctl to ask")
	}
	for _, path := range paths {
		subject := launchdtest.Subject{Real: true, Run: func(args ...string) launchdtest.Result {
			cmd := exec.Command(path, args...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			var exit *exec.ExitError
			if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			return launchdtest.Result{Code: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
		}}
		launchdtest.Conform(t, func(*testing.T, *emulator.Knobs) launchdtest.Subject { return subject }, launchdtest.Rows())
	}
}

func TestRowsCiteTheirEvidence(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range launchdtest.Rows() {
		if row.Evidence == "" || row.Name == "" || seen[row.Name] || len(row.Steps) == 0 {
			t.Errorf("row %q lacks evidence or steps, or is double", row.Name)
		}
		seen[row.Name] = true
	}
}
