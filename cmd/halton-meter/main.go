// Command halton-meter meters what a developer's LLM calls cost, per project.
//
// It assembles the packages of this module and holds no metering of its own.
// Each command has a file of its name; what several of them need lies in the
// folders beneath: config (config.toml), agents (the four launchd jobs, where
// files lie, installation), shellenv (the environment of "run") and term
// (what is printed).
//
// Exit codes: 0 done or healthy; 1 failed; 2 usage; 3 not installed, or the
// daemon's job not loaded; 4 loaded and not healthy. "run" becomes its child.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/term"
	"github.com/haltonlabs/halton-meter/internal/version"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
)

// The exit codes.
const (
	exitFailed       = 1
	exitUsage        = 2
	exitNotInstalled = 3
	exitUnhealthy    = 4
)

type grammar struct {
	Init      initCmd      `cmd:"" help:"Set the meter up: state directory, certificate authority, launch agents, edge."`
	Start     startCmd     `cmd:"" help:"Start metering, and set up first if nothing is."`
	Stop      stopCmd      `cmd:"" help:"Stop metering. The edge stays up, and traffic flows unmetered."`
	Status    statusCmd    `cmd:"" help:"Tell what runs, on which ports, and what passed unmetered."`
	Doctor    doctorCmd    `cmd:"" help:"Look for what is wrong, and say how to mend it."`
	Run       runCmd       `cmd:"" help:"Run a command with its LLM traffic led through the meter."`
	Env       envCmd       `cmd:"" help:"Print the variables that lead a shell's programs through the meter."`
	Report    reportCmd    `cmd:"" help:"Print what was spent, by project and by model."`
	Export    exportCmd    `cmd:"" help:"Write the ledger's rows to standard output."`
	Pricing   pricingCmd   `cmd:"" help:"Show prices, explain a cost, price what had no price."`
	DB        dbCmd        `cmd:"" name:"db" help:"Check, back up and recover the ledger."`
	Rescue    rescueCmd    `cmd:"" help:"Tear everything down and set it up anew, keeping ledger, configuration and authority."`
	Uninstall uninstallCmd `cmd:"" help:"Remove the meter from this machine."`
	Launchctl launchctlCmd `cmd:"" passthrough:"" help:"Talk to the built-in launchd, with launchctl's arguments."`

	Completion completionCmd `cmd:"" help:"Print a completion script for bash, zsh or fish."`
	Docs       docsCmd       `cmd:"" help:"Print the manual of all commands, as a man page or Markdown."`

	Restart  restartCmd  `cmd:"" hidden:""`
	Daemon   daemonCmd   `cmd:"" hidden:"" help:"The metering daemon; launchd runs it."`
	Edge     edgeCmd     `cmd:"" hidden:"" help:"The always-on edge; launchd runs it."`
	Watchdog watchdogCmd `cmd:"" hidden:"" help:"The watchdog; launchd runs it."`
	Userenv  userenvCmd  `cmd:"" hidden:"" help:"The login agent; launchd runs it."`
	Launchd  launchdCmd  `cmd:"" hidden:"" help:"The built-in launchd itself."`

	Version kong.VersionFlag `help:"Print the version."`
}

func main() {
	// The built-in launchd starts this program to become each of its jobs.
	emulator.XPCProxy()
	// All of ours is logged with log/slog. Here writes net/http, and quotes what
	// a provider sent unasked.
	log.SetOutput(io.Discard)
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()

	exit := -1
	parser := newParser(kong.Exit(func(code int) { exit = code }), kong.BindTo(ctx, (*context.Context)(nil)))
	kctx, err := parser.Parse(args)
	if exit >= 0 { // --help or --version
		return exit
	}
	if err != nil {
		term.Error(os.Stderr, err, "halton-meter --help lists the commands")
		return exitUsage
	}
	paths, err := agents.FindPaths(os.Getenv)
	if command, _, _ := strings.Cut(kctx.Command(), " "); err != nil && command != "run" && command != "env" {
		term.Error(os.Stderr, err, "")
		return exitFailed
	}
	a := newApp(paths)
	a.lost = err
	return exitCode(kctx.Run(a))
}

func newParser(options ...kong.Option) *kong.Kong {
	var g grammar
	parser, err := kong.New(&g, append(options,
		kong.Name("halton-meter"),
		kong.Description("Halton Meter tells what your LLM calls cost, per project, without getting in their way."),
		kong.Vars{"version": "halton-meter " + version.Version},
		kong.UsageOnError(),
	)...)
	if err != nil {
		// The grammar is a constant of this program.
		panic(err)
	}
	return parser
}

// failure is an error with what the user should type next, or with an exit
// code of its own.
type failure struct {
	err  error
	hint string
	code int
	// silent: all is said already.
	silent bool
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func exitCode(err error) int {
	if err == nil {
		return 0
	}
	f := &failure{err: err, code: exitFailed}
	errors.As(err, &f)
	if !f.silent {
		term.Error(os.Stderr, err, f.hint)
	}
	if f.code == 0 {
		return exitFailed
	}
	return f.code
}

type restartCmd struct{}

func (restartCmd) Run() error {
	return &failure{
		err:  fmt.Errorf("there is no restart"),
		hint: "halton-meter stop && halton-meter start",
		code: exitUsage,
	}
}
