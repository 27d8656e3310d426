package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/term"
	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/meter/ca"
)

const (
	// healthBudget is how long the daemon may take from kickstart to health.
	healthBudget = 30 * time.Second
	// edgeDoubt is how long an edge that has just found the daemon down believes
	// so, with time for another look.
	edgeDoubt = 250 * time.Millisecond
	// quietBudget is the same for a shell's start-up file.
	quietBudget = 5 * time.Second
)

type startCmd struct {
	Quiet bool `help:"Print exactly one line, and wait 5 s at most: for a shell's start-up file."`
}

func (startCmd) Help() string {
	return `It loads the daemon and the watchdog, starts both and waits until the daemon is healthy. If nothing is set up it does "halton-meter init" first, but not after "halton-meter uninstall", which was meant. Running it again when all is up changes nothing.

In a shell's start-up file, such as ~/.zshrc, it takes a few milliseconds when all is up, and the "|| true" is for shells that end at the first error (set -e):

  halton-meter start --quiet 2>/dev/null || true`
}

func (c startCmd) Run(ctx context.Context, a *app) error {
	s := &starting{app: a, quiet: c.Quiet, budget: healthBudget, steps: term.NewSteps(os.Stdout, len("watchdog registered"))}
	if c.Quiet {
		// From here on, not from the kickstart: a login waits for all of it.
		s.budget = quietBudget
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, quietBudget, fmt.Errorf("it takes longer than %s; halton-meter status tells how it goes on", quietBudget))
		defer cancel()
	}
	err := s.run(ctx)
	if !c.Quiet {
		s.steps.Close()
		return err
	}
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = context.Cause(ctx)
		}
		printLine(os.Stderr, "halton-meter: not metering: "+strings.ReplaceAll(err.Error(), "\n", " "))
		return &failure{err: err, code: exitFailed, silent: true}
	}
	printLine(os.Stdout, "halton-meter: metering on "+s.edge)
	return nil
}

// printLine prints a line, unless nobody reads: a login waits for no reader either.
func printLine(to io.Writer, line string) {
	said := make(chan struct{})
	go func() {
		fmt.Fprintln(to, line)
		close(said)
	}()
	select {
	case <-said:
	case <-time.After(time.Second):
	}
}

// starting is one run of start.
type starting struct {
	*app
	quiet  bool
	budget time.Duration
	steps  *term.Steps
	edge   string
	api    string
}

func (s *starting) run(ctx context.Context) error {
	if s.quiet && s.alreadyUp(ctx) {
		return nil
	}
	if err := s.maySetUp(); err != nil {
		return err
	}
	unlock, err := s.exclusive(ctx, s.budget)
	if err != nil {
		return err
	}
	defer unlock()
	if s.quiet && s.alreadyUp(ctx) {
		return nil // another start was at work, and is done
	}
	if err := s.setUp(ctx); err != nil {
		s.edgeAlone(ctx)
		return err
	}
	err = s.bringUp(ctx)
	if !s.quiet && s.edge != "" {
		// Not earlier: what names the edge is stale only if that stays down.
		s.warnOfStaleProxy(ctx)
	}
	return err
}

// bringUp loads and starts what is set up, and waits until it is healthy. The
// caller holds the lock.
func (s *starting) bringUp(ctx context.Context) error {
	if err := agents.ClearStop(s.paths); err != nil {
		return err
	}
	in, err := s.installer()
	if err != nil {
		return err
	}
	edgeDetail, err := s.bringUpEdge(ctx, in)
	if err != nil {
		return err
	}
	if pinned, port := in.Config.Daemon.EdgePort, agents.EdgePort(s.paths); pinned != 0 && pinned != port {
		s.warn("%s pins the edge to port %d, and it is on %d; halton-meter init moves it", s.paths.Config(), pinned, port)
	}
	if !in.IsInstalled() {
		s.warn("the jobs run another halton-meter than this one; %s init installs this one", in.Executable)
	}
	for _, label := range []string{agents.Daemon, agents.Watchdog} {
		if err := s.refreshPlist(ctx, in, label); err != nil {
			return err
		}
		if err := s.register(ctx, label); err != nil {
			return err
		}
	}
	kicked := time.Now()
	for _, label := range []string{agents.Daemon, agents.Watchdog} {
		if err := s.kickstart(ctx, label); err != nil {
			return err
		}
	}
	if s.api, err = s.waitHealthy(ctx, kicked); err != nil {
		return err
	}
	// What begins when this command is done is to be metered.
	select {
	case <-time.After(edgeDoubt):
	case <-ctx.Done():
	}
	s.done("daemon healthy", fmt.Sprintf("api: %s  edge: %s", s.api, edgeDetail))
	return nil
}

// alreadyUp is the fast path of a shell's start-up file: it asks the two
// ports, and runs no other program.
func (s *starting) alreadyUp(ctx context.Context) bool {
	rec, live := s.ports()
	if !live || healthy(ctx, rec.Ports["api"]) != nil || agents.EdgeAnswers(ctx, s.paths, rec.Ports["edge"]) != nil ||
		!agents.EdgeIsCurrent(ctx, s.paths) {
		return false
	}
	s.edge = agents.EdgeAddress(rec.Ports["edge"])
	return true
}

// maySetUp refuses where nothing is set up and start must not do it by itself.
func (s *starting) maySetUp() error {
	if err := cmp.Or(s.asYourself("halton-meter start"), s.elsewhere()); err != nil {
		return err
	}
	if s.paths.Mode() != "" {
		return nil
	}
	if err := cmp.Or(s.mayEnter(), s.mayMoveIn()); err != nil {
		return err
	}
	if _, err := os.Stat(s.paths.Uninstalled()); err == nil {
		return &failure{err: errors.New("halton-meter was uninstalled here"), hint: "halton-meter init sets it up again"}
	}
	if s.quiet {
		return &failure{err: errors.New("halton-meter is not set up: run halton-meter init"), hint: "halton-meter init"}
	}
	return nil
}

// setUp does the env-only installation on a machine that has none.
func (s *starting) setUp(ctx context.Context) error {
	if s.paths.Mode() != "" {
		conf, err := s.config()
		if err != nil {
			return err
		}
		if err := agents.EnsureBundle(s.paths, conf, os.Getenv); err != nil {
			hint := "mend [upstream] ca_file in " + s.paths.Config() + ", then halton-meter start"
			if conf.Upstream.CAFile == "" || errors.Is(err, ca.ErrKeyExposed) {
				hint = "halton-meter doctor"
			}
			return s.failedWith("trust bundle", err, hint)
		}
		return nil
	}
	s.steps.Waiting("setting up")
	if err := s.install(ctx); err != nil {
		return err
	}
	s.done("set up", s.paths.State+" (mode: "+agents.ModeEnvOnly+")")
	return nil
}

// edgeAlone brings the edge up where the daemon cannot come up, as with a broken
// configuration: it needs none, and programs hold its port.
func (s *starting) edgeAlone(ctx context.Context) {
	if s.paths.Mode() == "" {
		return
	}
	in, err := s.installerWith(config.Config{})
	if err != nil {
		return
	}
	s.waiting("edge")
	if detail, err := in.BringUpEdge(ctx); err == nil {
		s.done("edge up", detail)
	}
}

func (s *starting) bringUpEdge(ctx context.Context, in *agents.Installer) (string, error) {
	s.waiting("edge")
	detail, err := in.BringUpEdge(ctx)
	if err != nil {
		return "", s.failed("edge", err)
	}
	s.edge = agents.EdgeAddress(agents.EdgePort(s.paths))
	return detail, nil
}

// refreshPlist writes the plist of an older version, or one that is gone, anew.
// That of a job which is loaded counts only after a bootout, and cuts open
// calls off sooner or later: that is left to init.
func (s *starting) refreshPlist(ctx context.Context, in *agents.Installer, label string) error {
	if !in.IsInstalled() || in.HasPlist(label) {
		return nil
	}
	_, err := s.supervisor.Print(ctx, s.supervisor.Target(label))
	if errors.Is(err, launchd.ErrNotLoaded) {
		if err := in.WritePlist(label); err != nil {
			return s.failed("write the plist of "+agents.ShortName(label), err)
		}
		return nil
	}
	s.warn("the %s runs with the plist of another version; halton-meter init renews it", agents.ShortName(label))
	return nil
}

func (s *starting) register(ctx context.Context, label string) error {
	name := agents.ShortName(label)
	s.waiting("registering " + name)
	res, err := s.supervisor.Load(ctx, s.supervisor.Domain, s.paths.Plist(label), launchd.LoadOptions{
		Budget: min(agents.BootstrapBudget, s.budget), Postmortem: s.paths.Postmortem(),
	})
	if err != nil {
		return s.failed("register "+name, err)
	}
	if !res.AlreadyLoaded {
		s.renewed(label)
	}
	s.done(name+" registered", label)
	return nil
}

func (s *starting) kickstart(ctx context.Context, label string) error {
	_, err := s.supervisor.Kickstart(ctx, s.supervisor.Target(label), launchd.KickstartOptions{})
	// Kickstart of a running job is 0 in field reports and 37 in the client's
	// source: both mean that it runs.
	if err != nil && !errors.Is(err, launchd.ErrInFlux) {
		return s.failed("start "+agents.ShortName(label), err)
	}
	return nil
}

// failed says which step it was, what launchctl answered and what to type.
func (s *starting) failed(step string, err error) error {
	return s.failedWith(step, err, s.hintFor(err, "halton-meter start"))
}

func (s *starting) failedWith(step string, err error, hint string) error {
	if !s.quiet {
		s.steps.Failed(step, "")
	}
	return &failure{err: fmt.Errorf("%s: %w", step, err), hint: hint, code: exitFailed}
}

func (s *starting) waiting(what string) {
	if !s.quiet {
		s.steps.Waiting(what)
	}
}

func (s *starting) warn(format string, args ...any) {
	if !s.quiet {
		s.steps.Warn(format, args...)
	}
}

func (s *starting) done(what, detail string) {
	if !s.quiet {
		s.steps.Done(what, detail)
	}
}
