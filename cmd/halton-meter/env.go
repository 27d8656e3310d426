package main

import (
	"context"
	"fmt"
	"os"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
)

type envCmd struct {
	Shell string `help:"Which shell is to read it: ${enum}." enum:"sh,fish" default:"sh"`
}

func (envCmd) Help() string {
	return `Shell files evaluate it: eval "$(halton-meter env)". It prints the variables that lead programs through the edge, but only while the edge answers; else it prints what takes them back. It always exits with 0, so that it cannot fail a shell. For fish:

  halton-meter env --shell=fish | source`
}

func (c envCmd) Run(ctx context.Context, a *app) error { // it must not fail
	if a.lost != nil {
		return nil
	}
	dialect := shellenv.POSIX
	if c.Shell == "fish" {
		dialect = shellenv.Fish
	}
	settings := agents.Settings(a.paths)
	if _, err := a.edgeForRun(ctx); err != nil {
		fmt.Print(settings.Clear(dialect, os.Environ()))
		return nil
	}
	conf, err := config.Load(a.paths.Config())
	if err != nil {
		return nil
	}
	if foreign, err := agents.ForeignProxy(ctx, a.paths, conf, os.Getenv); err != nil || foreign.Proxy != "" {
		// Better unmetered than past the proxy that this network needs.
		return nil
	}
	if agents.UpstreamAnswers(ctx, a.paths) != nil {
		// The network is another one today: the shell does as without us.
		fmt.Print(settings.Clear(dialect, os.Environ()))
		return nil
	}
	fmt.Print(settings.Script(dialect, os.Environ()))
	return nil
}
