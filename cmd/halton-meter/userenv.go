package main

import "github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"

type userenvCmd struct{}

// Run is the login agent: in env-only mode there is nothing to set at login.
func (userenvCmd) Run(a *app) error { //nolint:unparam // the command line calls only what returns an error
	jobLogger(a.paths, agents.UserEnv).Info("userenv.nothing_to_do", "mode", a.paths.Mode())
	return nil
}
