package main

import (
	"errors"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/mactools"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/upstream"
	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/portalloc"
)

// hintFor is the next command to type after err; again is the command that
// failed.
func (a *app) hintFor(err error, again string) string {
	var exhausted *portalloc.ExhaustedError
	var refused *launchd.Error
	switch {
	case errors.As(err, &exhausted):
		return "free one of these ports, or name another in config.toml; then " + again
	case errors.Is(err, agents.ErrNoEdgePlist):
		return "halton-meter init"
	case errors.Is(err, agents.ErrEdgePortTaken):
		return "halton-meter init gives the edge another port, or end that program; then " + again
	case errors.Is(err, agents.ErrNoSystemProxy):
		return "halton-meter init --apps"
	case errors.Is(err, agents.ErrAutomaticProxy):
		return "halton-meter init --apps leaves the system proxy alone; or turn the automatic proxy off, name the proxy in [upstream] proxy of " + a.paths.Config() + ", then " + again
	case errors.Is(err, agents.ErrIdleProxy):
		return "turn that proxy off in System Settings > Network, then " + again + "; or halton-meter init --apps, which leaves the system proxy alone"
	case errors.Is(err, agents.ErrProxyPassword):
		return "write [upstream] proxy = \"http://user:password@host:port\" into " + a.paths.Config() + " and turn the system proxy off, then " + again
	case errors.Is(err, upstream.ErrUnusable):
		return "unset that variable for this command, or name an http proxy in [upstream] proxy of " + a.paths.Config() + "; then " + again
	case errors.Is(err, mactools.ErrAdmin):
		return "an administrator must do this, on a Mac whose System Settings > Privacy & Security > Advanced asks for no password at each change; halton-meter init --apps needs neither"
	case errors.Is(err, mactools.ErrNoInteraction):
		return "macOS must ask for your password: do this at the machine's screen, not over ssh; halton-meter init --apps needs none"
	case errors.Is(err, mactools.ErrDeclined):
		return again + " asks again; halton-meter init --apps needs no trust in the keychain"
	case errors.Is(err, shellenv.ErrBrokenBlock):
		return "remove the lines of the halton-meter block from that file, then " + again
	case errors.Is(err, launchd.ErrNoDomain) && a.supervisor.Name == agents.Systemd:
		return busHint + ", then " + again
	case errors.Is(err, launchd.ErrNoDomain):
		return "log in at this machine's screen once (launchd keeps agents in a GUI session), then " + again
	case errors.Is(err, launchd.ErrDisabled):
		return "allow the job in System Settings > General > Login Items, then " + again
	case errors.Is(err, launchd.ErrPermission) && a.supervisor.Name == agents.Systemd:
		return "systemd refuses this to you; halton-meter init --no-systemd does without it"
	case errors.Is(err, launchd.ErrPolicy), errors.Is(err, launchd.ErrPermission):
		return "the system refuses this; see System Settings > General > Login Items, and run it as yourself, not with sudo"
	case errors.Is(err, launchd.ErrBadPlist):
		return "halton-meter init writes the launch agents anew; then " + again
	case errors.As(err, &refused) && refused.Verb == "bootstrap":
		return "what " + a.supervisor.Name + " answered is in " + a.paths.Postmortem() + "; then " + again
	}
	return again
}
