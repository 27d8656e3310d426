package main

import (
	"context"
	"errors"
	"os"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
)

type launchctlCmd struct {
	Args []string `arg:"" optional:"" help:"launchctl's own arguments: print, list, bootstrap, kickstart…"`
}

func (launchctlCmd) Help() string {
	return `It answers with launchctl's exit codes and text. Where the system has no launchd, this program brings its own, which is started on first use and lives in the state directory; after "halton-meter init --systemd" it speaks to systemd instead.

  halton-meter launchctl print gui/$(id -u)/com.haltonlabs.meter.edge
  halton-meter launchctl getenv HTTPS_PROXY`
}

func (c launchctlCmd) Run(ctx context.Context, a *app) error {
	if a.supervisor.Name == agents.Systemd {
		return c.bySystemd(ctx, a)
	}
	if code := agents.EmulatedLaunchctl(a.paths).Run(ctx, c.Args, os.Stdout, os.Stderr); code != 0 {
		return &failure{err: errors.New("launchctl failed"), code: code, silent: true}
	}
	return nil
}

// bySystemd speaks to systemd in launchctl's verbs, as the other commands do.
func (c launchctlCmd) bySystemd(ctx context.Context, a *app) error {
	out, err := agents.Units(a.paths).Run(ctx, c.Args)
	if err != nil {
		return err
	}
	if _, err := os.Stdout.Write(out.Stdout); err != nil {
		return err
	}
	os.Stderr.Write(out.Stderr)
	if out.Code != 0 {
		return &failure{err: errors.New("launchctl failed"), code: out.Code, silent: true}
	}
	return nil
}

type launchdCmd struct{}

// Run is the supervisor itself; launchctl starts it.
func (launchdCmd) Run(ctx context.Context, a *app) error {
	cleanEnvironment(a.paths)
	err := (&emulator.Supervisor{Dir: a.paths.State, Logger: newLogger(os.Stderr)}).Run(ctx)
	if errors.Is(err, emulator.ErrRunning) {
		return nil // two commands needed it at once, and the other was first
	}
	return err
}
