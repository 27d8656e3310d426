package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
	"github.com/haltonlabs/halton-meter/meter/attribution"
	"github.com/haltonlabs/halton-meter/meter/provider"
)

// probeBudget is what a command, or a new shell, may wait for a hung edge. An
// edge that is dead refuses at once. It is more than the 100 ms of the
// reference: on a busy machine those left programs unmetered.
const probeBudget = 250 * time.Millisecond

type runCmd struct {
	Project string   `help:"Attribute the calls to this project." placeholder:"P"`
	BaseURL bool     `name:"base-url" help:"Set the SDKs' base URLs in place of a proxy: for programs that follow no proxy variable."`
	Command []string `arg:"" passthrough:"partial" name:"cmd" help:"The command and its arguments, after --."`
}

func (runCmd) Help() string {
	return `The command replaces this program, so terminal, signals and exit code are its own. If the edge does not answer, or cannot go through the proxy that the environment names, the command runs with its environment untouched, and one line on standard error says so. Hosts that NO_PROXY names are reached past the meter, as the user meant; a line tells of that too.

  halton-meter run -- claude
  halton-meter run --project billing -- python3 app.py
  halton-meter run --base-url -- codex`
}

func (c runCmd) Run(ctx context.Context, a *app) error {
	argv := c.Command
	if len(argv) > 0 && argv[0] == "--" {
		argv = argv[1:]
	}
	if len(argv) == 0 {
		return &failure{err: errors.New("no command to run"), hint: "halton-meter run -- claude", code: exitUsage}
	}
	project := ""
	if c.Project != "" {
		slug, err := attribution.Slug(c.Project)
		if err != nil {
			return &failure{err: err, hint: "halton-meter run --project my-project -- " + argv[0], code: exitUsage}
		}
		project = slug
	}
	path, err := exec.LookPath(argv[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		// As a shell answers: 127 not found, 126 found and not to be run.
		code := 127
		if errors.Is(err, os.ErrPermission) {
			code = 126
		}
		return &failure{err: err, code: code}
	}
	env := os.Environ()
	edge, err := a.edgeForRun(ctx)
	if err == nil {
		err = a.adoptProxy(ctx, os.Getenv)
	}
	if err == nil {
		err = agents.UpstreamAnswers(ctx, a.paths)
	}
	switch {
	case err != nil:
		fmt.Fprintf(os.Stderr, "halton-meter: %s runs unmetered: %v\n", argv[0], err)
	case c.BaseURL:
		env = shellenv.BaseURLs{Edge: edge, Project: project, URLs: baseURLs()}.Apply(env)
	default:
		a.refreshBundle()
		if past := shellenv.Excluded(env, provider.Hosts()); len(past) > 0 {
			fmt.Fprintf(os.Stderr, "halton-meter: NO_PROXY keeps %s from the meter\n", someOf(past))
		}
		env = shellenv.Settings{
			Edge: edge, Project: project, Node: true,
			Bundle: a.paths.Bundle(), BundleVariables: agents.BundleVariables,
		}.Apply(env)
	}
	if err := syscall.Exec(path, argv, env); err != nil {
		return &failure{err: fmt.Errorf("run %s: %w", argv[0], err), code: 126}
	}
	return nil
}

// someOf names the first of many.
func someOf(hosts []string) string {
	if len(hosts) > 3 {
		return fmt.Sprintf("%s and %d more hosts", hosts[0], len(hosts)-1)
	}
	return strings.Join(hosts, ", ")
}

// baseURLs are the variables that the providers' own SDKs read. OpenAI's takes
// its version's path from the variable.
func baseURLs() []shellenv.BaseURL {
	variables := map[string]string{
		"/anthropic": "ANTHROPIC_BASE_URL", "/openai": "OPENAI_BASE_URL", "/gemini": "GOOGLE_GEMINI_BASE_URL",
	}
	var all []shellenv.BaseURL
	for _, u := range provider.BaseURLs() {
		name, known := variables[u.Prefix]
		if !known {
			continue
		}
		path := u.Prefix
		if name == "OPENAI_BASE_URL" {
			path += "/v1"
		}
		all = append(all, shellenv.BaseURL{Variable: name, Path: path, Host: u.Host})
	}
	return all
}

// edgeForRun is the address of our edge, if it answers in time.
func (a *app) edgeForRun(ctx context.Context) (string, error) {
	if a.lost != nil {
		return "", a.lost
	}
	ctx, cancel := context.WithTimeout(ctx, probeBudget)
	defer cancel()
	port := agents.EdgePort(a.paths)
	if a.paths.Mode() == "" || port == 0 {
		return "", errors.New("halton-meter is not set up (halton-meter init)")
	}
	if _, err := os.Stat(a.paths.Bundle()); err != nil {
		return "", errors.New("the trust bundle is missing (halton-meter init)")
	}
	if err := agents.EdgeAnswers(ctx, a.paths, port); err != nil {
		return "", fmt.Errorf("the edge does not answer on %s (halton-meter start)", agents.EdgeAddress(port))
	}
	return agents.EdgeAddress(port), nil
}

// refreshBundle adopts roots that this environment names and the bundle
// lacks. When it fails, the bundle of before still serves.
func (a *app) refreshBundle() {
	conf, err := config.Load(a.paths.Config())
	if err == nil {
		err = agents.EnsureBundle(a.paths, conf, os.Getenv)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "halton-meter: the trust bundle was not refreshed: %v\n", err)
	}
}
