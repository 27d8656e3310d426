package main

import "os"

type userenvCmd struct{}

// Run is the login agent: in env-only mode there is nothing to set at login.
func (userenvCmd) Run(a *app) {
	newLogger(os.Stderr).Info("userenv.nothing_to_do", "mode", a.paths.Mode())
}
