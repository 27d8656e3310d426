package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strconv"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/upstream"
)

type envCmd struct {
	Shell string `help:"Which shell is to read it: ${enum}." enum:"sh,fish" default:"sh"`
}

func (envCmd) Help() string {
	return `Shell files evaluate it: eval "$(halton-meter env)". It prints the variables that lead programs through the edge, but only while the edge answers; else it prints what takes them back. It always exits with 0, so that it cannot fail a shell.`
}

func (c envCmd) Run(ctx context.Context, a *app) error { //nolint:unparam // it must not fail, and every command returns an error
	dialect := shellenv.POSIX
	if c.Shell == "fish" {
		dialect = shellenv.Fish
	}
	settings := agents.Settings(a.paths)
	if _, err := a.edgeForRun(ctx); err != nil {
		fmt.Print(settings.Clear(dialect, os.Environ()))
		return nil
	}
	if foreign, err := a.foreignProxy(os.Getenv); err != nil || foreign.Proxy != "" {
		// Better unmetered than past the proxy that this network needs.
		return nil
	}
	fmt.Print(settings.Script(dialect, os.Environ()))
	return nil
}

// foreignProxy is the user's own proxy in an environment, if the edge does not
// go through it yet. An error means that the edge cannot.
func (a *app) foreignProxy(getenv func(string) string) (upstream.Adopted, error) {
	found, err := upstream.FromEnvironment(getenv, a.ourProxy)
	if err != nil || found.Proxy == "" {
		return upstream.Adopted{}, err
	}
	conf, err := config.Load(a.paths.Config())
	if err != nil {
		return upstream.Adopted{}, err
	}
	have, err := upstream.Read(a.paths.Upstream())
	if err != nil {
		return upstream.Adopted{}, err
	}
	if conf.Upstream.Proxy != "" || have.Same(found) {
		// What is written in the configuration was meant.
		return upstream.Adopted{}, nil
	}
	return found, nil
}

// ourProxy reports whether a proxy's URL names our edge.
func (a *app) ourProxy(u *url.URL) bool {
	switch u.Hostname() {
	case "127.0.0.1", "localhost", "::1":
		return u.Port() != "" && u.Port() == strconv.Itoa(agents.EdgePort(a.paths))
	}
	return false
}
