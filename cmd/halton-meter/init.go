package main

import (
	"context"
	"fmt"
	"os"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/term"
)

type initCmd struct{}

func (initCmd) Help() string {
	return "It may be run again at any time: what is there is kept, what is missing is made. Only files of the meter's own are written; traffic is metered for commands that are started by \"halton-meter run\"."
}

func (initCmd) Run(ctx context.Context, a *app) error {
	unlock, err := a.exclusive(ctx, lockBudget)
	if err != nil {
		return err
	}
	defer unlock()
	if err := a.install(ctx, true); err != nil {
		return err
	}
	fmt.Println("init complete   mode: " + agents.ModeEnvOnly)
	return nil
}

// install does the steps of the env-only installation; verbose says so.
func (a *app) install(ctx context.Context, verbose bool) error {
	in, err := a.installer()
	if err != nil {
		return err
	}
	steps := in.Steps()
	for i, step := range steps {
		detail, err := step.Do(ctx)
		if err != nil {
			return &failure{err: fmt.Errorf("set up %s: %w", step.Name, err), hint: a.hintFor(err, "halton-meter init")}
		}
		if verbose {
			fmt.Printf("%d/%d %-22s %s\n", i+1, len(steps), step.Name, term.StylesFor(os.Stdout).Faint(detail))
		}
	}
	return nil
}

func (a *app) installer() (*agents.Installer, error) {
	conf, err := a.config()
	if err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return &agents.Installer{
		Paths: a.paths, Config: conf, Supervisor: a.supervisor, Executable: exe, Getenv: os.Getenv,
	}, nil
}
