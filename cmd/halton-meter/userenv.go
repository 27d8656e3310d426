package main

import (
	"context"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
)

// loginPatience is how long the login agent waits for the edge: everything
// starts at once at login.
const loginPatience = time.Minute

type userenvCmd struct{}

// Run is the login agent. Where GUI programs are to be metered it sets the
// variables from which they inherit, once the edge answers: a program that is
// pointed at a dead port fails.
func (userenvCmd) Run(ctx context.Context, a *app) error {
	log := jobLogger(a.paths, agents.UserEnv)
	mode := a.paths.Mode()
	if mode != agents.ModeApps && mode != agents.ModeFull {
		log.Info("userenv.nothing_to_do", "mode", mode)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, loginPatience)
	defer cancel()
	for {
		// Each time anew: init loads this job before it writes the edge's plist.
		port := agents.EdgePort(a.paths)
		err := agents.EdgeAnswers(ctx, a.paths, port)
		if err == nil {
			break
		}
		select {
		case <-ctx.Done():
			log.Error("userenv.edge.silent", "port", port, "error", err.Error())
			return &failure{err: err, code: exitFailed, silent: true}
		case <-time.After(200 * time.Millisecond):
		}
	}
	names, err := agents.SetLoginEnvironment(ctx, a.paths, a.supervisor)
	if err != nil {
		log.Error("userenv.set.failed", "error", err.Error())
		return &failure{err: err, code: exitFailed, silent: true}
	}
	log.Info("userenv.set", "names", names)
	return nil
}
