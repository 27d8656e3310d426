package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
)

type initCmd struct {
	Apps           bool  `xor:"mode" help:"Also meter new shells and GUI programs, by environment variables."`
	Full           bool  `xor:"mode" help:"Also make the edge the macOS system proxy, and trust our root in the login keychain."`
	EnvOnly        bool  `xor:"mode" help:"Change nothing but our own files: only \"halton-meter run\" meters. The default of a first installation."`
	GUI            bool  `xor:"mode" hidden:""`
	Systemd        *bool `negatable:"" help:"Linux: have systemd's user manager run the jobs, in place of our own supervisor. Later inits keep to it; --no-systemd goes back."`
	NonInteractive bool  `help:"Never ask; what needs a password is an error."`
	NoShellRC      bool  `name:"no-shell-rc" help:"Leave the shells' start-up files alone, now and at later inits that name no mode."`
	Clean          bool  `help:"Undo everything if the self-test at the end fails, in place of mending it."`
}

func (initCmd) Help() string {
	return `It may be run again at any time: what is there is kept, what is missing is made, and what the mode does not want is taken back. Without a mode's flag an installation keeps its mode. At the end it makes a metered and a passthrough request through the edge; they stay on this machine.

A proxy or CA that your environment names is adopted: the meter goes through it, and its roots go into the bundle.

  halton-meter init                 # the first time: only "halton-meter run" meters
  halton-meter init --apps          # meter every new shell and GUI program
  halton-meter init --env-only      # and back`
}

func (c initCmd) Run(ctx context.Context, a *app) error {
	mode := c.mode(a)
	if err := c.allowed(ctx, a, mode); err != nil {
		return err
	}
	unlock, err := a.exclusive(ctx, lockBudget)
	if err != nil {
		return err
	}
	defer unlock()
	supervisor, installed := a.supervisor, a.paths.Mode()
	if err := a.superviseBy(ctx, c.Systemd); err != nil {
		return err
	}
	err = a.setUpAs(ctx, setup{
		mode: mode, chosen: c.Apps || c.Full || c.GUI || c.EnvOnly, noShellRC: c.NoShellRC, clean: c.Clean,
	})
	if err != nil {
		return a.superviseAgain(ctx, supervisor, installed, err)
	}
	return nil
}

// mode is the one that a flag names, else the one that is installed: whoever
// upgrades must not lose metering without a word.
func (c initCmd) mode(a *app) string {
	switch {
	case c.Apps:
		return agents.ModeApps
	case c.Full, c.GUI:
		return agents.ModeFull
	case c.EnvOnly:
		return agents.ModeEnvOnly
	}
	if mode := a.installedMode(); mode != "" {
		return mode
	}
	return agents.ModeEnvOnly
}

// allowed says no before anything is changed.
func (c initCmd) allowed(ctx context.Context, a *app, mode string) error {
	if err := cmp.Or(a.asYourself("halton-meter init"), a.mayMoveIn()); err != nil {
		return err
	}
	if err := a.elsewhere(); err != nil || mode != agents.ModeFull {
		return err
	}
	if !a.tools.Available() {
		return &failure{err: agents.ErrNoSystemProxy, hint: "halton-meter init --apps"}
	}
	if err := agents.CheckSystemProxy(ctx, a.paths, a.tools); err != nil {
		return &failure{err: err, hint: a.hintFor(err, "halton-meter init --full")}
	}
	trusted, err := agents.RootsTrusted(ctx, a.paths, a.tools)
	switch {
	case err != nil:
		return &failure{err: err, hint: "halton-meter init --apps"}
	case !trusted && c.NonInteractive:
		return &failure{err: errors.New("the login keychain does not trust our root yet, and macOS asks for a password to change that"), hint: "halton-meter init --full, at the screen"}
	case !trusted:
		fmt.Fprintln(os.Stderr, "macOS will ask for your password once: programs that use the system proxy must trust the local certificate authority.")
	}
	return nil
}
