package agents_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/internal/atomicfile"
)

func TestOutdated(t *testing.T) {
	t.Parallel()
	p := agents.Paths{State: t.TempDir()}
	for _, step := range []struct {
		do   func() error
		want []string
	}{
		{func() error { return agents.MarkOutdated(p, agents.UserEnv, agents.Watchdog) }, []string{agents.Watchdog}},
		{func() error { return agents.MarkOutdated(p, agents.Watchdog, agents.Daemon) }, []string{agents.Watchdog, agents.Daemon}},
		{func() error { return agents.Renewed(p, agents.Watchdog) }, []string{agents.Daemon}},
		{func() error { return agents.Renewed(p, agents.Watchdog) }, []string{agents.Daemon}},
		{func() error { return agents.Renewed(p, agents.Daemon) }, nil},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if got := agents.Outdated(p); !slices.Equal(got, step.want) {
			t.Errorf("outdated: %q, want %q", got, step.want)
		}
	}
	if left, err := os.ReadDir(p.State); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A command that was told to end has not been told that a port is taken.
func TestACutOffInstallationKeepsThePort(t *testing.T) {
	t.Parallel()
	p := agents.Paths{Home: t.TempDir(), State: t.TempDir()}
	plist, err := agents.Jobs(p, 8199)[agents.Edge].Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(p.Home+"/Library/LaunchAgents", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(p.Plist(agents.Edge), plist, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	in := &agents.Installer{Paths: p, Supervisor: agents.EmulatorSupervisor(p), Getenv: os.Getenv}
	for _, step := range in.Steps() {
		if step.Name != "launch agents" {
			continue
		}
		if _, err := step.Do(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", step.Name, err)
		}
	}
	if _, err := os.Stat(p.Ports()); !os.IsNotExist(err) {
		t.Errorf("a port was recorded: %v", err)
	}
}
