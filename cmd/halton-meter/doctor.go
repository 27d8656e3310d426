package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/doctor"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/term"
	"github.com/haltonlabs/halton-meter/internal/version"
)

type doctorCmd struct {
	JSON  bool `help:"Print JSON."`
	Fix   bool `help:"Print the commands that mend what is wrong, as a plan."`
	Apply bool `help:"With --fix: run the plan, and look again."`
}

func (doctorCmd) Help() string {
	return `It looks at each layer: files and permissions, keys, certificate authority and its trust, launch agents, edge, daemon, ports, proxy and trust variables, the proxy that providers are reached through, ledger, prices, and a handshake of each kind of client that is here. Each bad finding names its evidence and the next command. The verdict is HEALTHY, INCONSISTENT (it works, and is not as it should be) or BROKEN. Without --apply it changes nothing.

  halton-meter doctor --fix             # also prints the plan
  halton-meter doctor --fix --apply     # runs it, and looks again, three times at most

Exit codes: 0 healthy; 3 not set up; 4 inconsistent or broken; after --apply, as it is then.

--json prints one object: version, verdict, and findings (check, verdict, evidence, next, and commands with argv where a program can mend it). These names and those of the checks stay as they are.`
}

func (c doctorCmd) Run(ctx context.Context, a *app) error {
	if c.Apply && !c.Fix {
		return &failure{err: errors.New("--apply goes with --fix"), hint: "halton-meter doctor --fix --apply", code: exitUsage}
	}
	p, err := a.patient()
	if err != nil {
		return err
	}
	rep := p.Examine(ctx)
	if c.Apply {
		rep, err = a.mend(ctx, p, rep)
		if err != nil {
			return err
		}
	}
	if c.JSON {
		if err := printJSON(os.Stdout, rep); err != nil {
			return err
		}
	} else {
		printDoctor(os.Stdout, rep, term.StylesFor(os.Stdout))
		if c.Fix && !c.Apply {
			printPlan(os.Stdout, rep.Plan())
		}
	}
	switch {
	case rep.Verdict == doctor.Healthy:
		return nil
	case a.paths.Mode() == "":
		return &failure{err: errors.New("not set up"), code: exitNotInstalled, silent: true}
	}
	return &failure{err: errors.New("not healthy"), code: exitUnhealthy, silent: true}
}

func (a *app) patient() (*doctor.Patient, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return &doctor.Patient{
		Version: version.Version, Paths: a.paths, Supervisor: a.supervisor, Tools: a.tools,
		Getenv: os.Getenv, Now: a.now, Executable: exe,
		RCFiles: a.shellFiles(),
		Health: func(ctx context.Context, port int) (doctor.Health, error) {
			h, err := health(ctx, port)
			return doctor.Health{Version: h.Version, Warnings: h.Warnings}, err
		},
		LastWords: a.lastFailure,
	}, nil
}

// lastFailure is what a job's log ends with, if that is why it failed.
func (a *app) lastFailure(label string) string {
	log := bytes.TrimSpace(tail(a.paths.Log(label, "err"), 16<<10))
	var line struct{ Event, Error string }
	if json.Unmarshal(log[bytes.LastIndexByte(log, '\n')+1:], &line) != nil || !strings.HasSuffix(line.Event, ".failed") {
		return ""
	}
	return line.Error
}

// rounds is how often a plan is made: mending one thing can show the next.
const rounds = 3

// mend runs the plan of rep and looks again, as long as there is something to
// run that has not been run yet. Progress goes to standard error, so that
// --json stays JSON.
func (a *app) mend(ctx context.Context, p *doctor.Patient, rep doctor.Report) (doctor.Report, error) {
	tried := map[string]bool{}
	for range rounds {
		fresh := false
		for _, cmd := range rep.Plan() {
			if !tried[cmd.String()] {
				fresh = true
			}
		}
		if rep.Verdict == doctor.Healthy || !fresh {
			break
		}
		for _, cmd := range rep.Plan() {
			tried[cmd.String()] = true
			fmt.Fprintf(os.Stderr, "→ %s\n", cmd)
			if err := perform(ctx, p.Executable, cmd); err != nil {
				// The next step may work all the same, and the second look
				// tells what is still wrong.
				term.Warn(os.Stderr, "%s: %v", cmd, err)
			}
			if ctx.Err() != nil {
				return rep, ctx.Err()
			}
		}
		rep = p.Examine(ctx)
	}
	return rep, nil
}

func perform(ctx context.Context, self string, c doctor.Command) error {
	path := c.Argv[0]
	if path == "halton-meter" {
		path = self
	}
	cmd := exec.CommandContext(ctx, path, c.Argv[1:]...) // a plan of our own making
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

func printDoctor(w io.Writer, rep doctor.Report, styles term.Styles) {
	fmt.Fprintf(w, "halton-meter v%s · doctor\n\n", version.Version)
	width := 0
	for _, f := range rep.Findings {
		width = max(width, len(f.Check))
	}
	for _, f := range rep.Findings {
		mark := styles.Good("✓")
		if f.Verdict != doctor.Healthy {
			mark = styles.Bad("✗")
		}
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%s %-*s  %s", mark, width, f.Check, f.Evidence), " "))
		if f.Next != "" {
			fmt.Fprintf(w, "  %*s  %s %s\n", width, "", styles.Faint("next:"), f.Next)
		}
	}
	verdict := string(rep.Verdict)
	if rep.Verdict == doctor.Healthy {
		verdict = styles.Good(verdict)
	} else {
		verdict = styles.Bad(verdict)
	}
	fmt.Fprintf(w, "\n%s\n", verdict)
}

func printPlan(w io.Writer, plan []doctor.Command) {
	if len(plan) == 0 {
		fmt.Fprintln(w, "\nnothing that a command can mend")
		return
	}
	fmt.Fprintln(w, "\nthe plan (halton-meter doctor --fix --apply runs it):")
	for i, c := range plan {
		fmt.Fprintf(w, "  %d. %s\n", i+1, c)
	}
}
