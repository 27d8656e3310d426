package main

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/manual"
	"github.com/haltonlabs/halton-meter/internal/version"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"Which shell is to read it: ${enum}."`
}

func (completionCmd) Help() string {
	return `It prints a script that completes commands, flags and their values. For bash, in ~/.bashrc:

  eval "$(halton-meter completion bash)"

For zsh, in ~/.zshrc after compinit (or as a file _halton-meter in a folder of the fpath):

  source <(halton-meter completion zsh)

For fish:

  mkdir -p ~/.config/fish/completions
  halton-meter completion fish > ~/.config/fish/completions/halton-meter.fish`
}

func (c completionCmd) Run(app *kong.Kong) error {
	page, commands := pages(app)
	switch c.Shell {
	case "bash":
		fmt.Print(page.Bash(commands))
	case "zsh":
		fmt.Print(page.Zsh(commands))
	case "fish":
		fmt.Print(page.Fish(commands))
	}
	return nil
}

type docsCmd struct {
	Format string `arg:"" enum:"man,markdown" help:"The format: ${enum}."`
}

func (docsCmd) Help() string {
	return `It prints the manual of all commands, made from what --help says.

  mkdir -p ~/.local/share/man/man1
  halton-meter docs man > ~/.local/share/man/man1/halton-meter.1 && man halton-meter`
}

func (c docsCmd) Run(app *kong.Kong) error {
	page, commands := pages(app)
	if c.Format == "man" {
		fmt.Print(page.Man(commands))
	} else {
		fmt.Print(page.Markdown(commands))
	}
	return nil
}

func pages(app *kong.Kong) (manual.Page, []manual.Command) {
	return manual.Page{Program: app.Model.Name, Version: version.Version, Date: builtAt(), Sections: []manual.Section{
		{Title: "exit status", Text: exitCodes},
		{Title: "environment", Text: environmentHelp},
		{Title: "files", Text: filesHelp},
	}}, manual.Read(app.Model)
}

// builtAt is the day of the program's source, "" if its build does not tell.
func builtAt() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if day, _, found := strings.Cut(s.Value, "T"); s.Key == "vcs.time" && found {
			return day
		}
	}
	return ""
}

const exitCodes = `0 done or healthy; 1 failed; 2 usage; 3 not set up, or the daemon's job not loaded; 4 loaded and not healthy. "run" ends as its command does.`

const environmentHelp = `HALTON_METER_HOME names the state directory, in place of ~/.halton-meter. HALTON_PROJECT names the project of a program's calls. HALTON_METER_LAUNCHCTL names another launchctl. NO_COLOR turns colours off.

HTTPS_PROXY and the variables of trusted roots, such as SSL_CERT_FILE and NODE_EXTRA_CA_CERTS, are adopted by init and run: the meter goes through that proxy and its bundle has those roots.`

const filesHelp = `In the state directory: config.toml is what you write; db.sqlite and journal hold the ledger; ca holds the certificate authority, and ca/bundle.pem what programs must trust; effective-ports.json tells the ports in use; daemon.err.log, edge.err.log, watchdog.err.log and userenv.err.log are the logs.

Outside of it: ~/Library/LaunchAgents/com.haltonlabs.meter*.plist, and after "init --systemd" ~/.config/systemd/user/halton-meter*; in the modes apps and full a marked line in the shells' start-up files. A .haltonrc in a folder of yours names the project of what runs in it.`
