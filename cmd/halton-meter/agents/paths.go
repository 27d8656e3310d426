package agents

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/haltonlabs/halton-meter/internal/smallfile"
)

// Paths is where this product keeps what on this machine.
type Paths struct {
	// Home is the user's home directory.
	Home string
	// State is the state directory, $HALTON_METER_HOME or ~/.halton-meter.
	State string
}

// FindPaths takes the paths from the environment.
func FindPaths(getenv func(string) string) (Paths, error) {
	home := getenv("HOME")
	if home == "" {
		return Paths{}, errors.New("find home directory: HOME is not set")
	}
	state := getenv("HALTON_METER_HOME")
	if state == "" {
		state = DefaultState(home)
	}
	for _, p := range []string{home, state} {
		if !filepath.IsAbs(p) {
			return Paths{}, fmt.Errorf("find state directory: %q is not an absolute path (see HOME and HALTON_METER_HOME)", p)
		}
	}
	return Paths{Home: filepath.Clean(home), State: filepath.Clean(state)}, nil
}

// DefaultState is the state directory where $HALTON_METER_HOME names no other.
func DefaultState(home string) string { return filepath.Join(home, ".halton-meter") }

// In is the path of a file in the state directory.
func (p Paths) In(elem ...string) string {
	return filepath.Join(append([]string{p.State}, elem...)...)
}

// Directories are those that must be their owner's to write.
func (p Paths) Directories() []string {
	return []string{p.State, p.CA(), p.In("journal"), filepath.Dir(p.Program())}
}

// Config is what the user writes.
func (p Paths) Config() string { return p.In("config.toml") }

// Ports is the record of the ports that are in use.
func (p Paths) Ports() string { return p.In("effective-ports.json") }

// InstallMode holds the install mode; without it nothing is set up.
func (p Paths) InstallMode() string { return p.In("install-mode") }

// GracefulShutdown is the sentinel that stop leaves.
func (p Paths) GracefulShutdown() string { return p.In("graceful-shutdown") }

// Postmortem is where a bootstrap that failed is written up.
func (p Paths) Postmortem() string { return p.In("bootstrap-postmortem.jsonl") }

// Token is the secret of the HTTP API.
func (p Paths) Token() string { return p.In("api-token") }

// EdgeKey is the secret that edge and daemon share.
func (p Paths) EdgeKey() string { return p.In("edge-key") }

// EdgeSocket is where the edge tells what it did.
func (p Paths) EdgeSocket() string { return p.In("edge.sock") }

// EdgeCounters is where it keeps that across its own end.
func (p Paths) EdgeCounters() string { return p.In("edge-counters.json") }

// Program is the copy of this program that the jobs run.
func (p Paths) Program() string { return p.In("bin", "halton-meter") }

// CA is the directory of the certificate authority.
func (p Paths) CA() string { return p.In("ca") }

// Bundle is the trust bundle for programs that go through the edge.
func (p Paths) Bundle() string { return p.In("ca", "bundle.pem") }

// AdoptedRoots are the roots that the user's own settings named.
func (p Paths) AdoptedRoots() string { return p.In("ca", "adopted.pem") }

// Uninstalled is the mark that uninstall leaves, beside the state directory:
// while it is there, start does not set the machine up by itself.
func (p Paths) Uninstalled() string { return p.State + ".uninstalled" }

// Plist is the path of a job's plist, where launchd looks for a user's agents.
func (p Paths) Plist(label string) string {
	return filepath.Join(p.Home, "Library", "LaunchAgents", label+".plist")
}

// Log is the path of a job's log; stream is "out" or "err".
func (p Paths) Log(label, stream string) string {
	return p.In(ShortName(label) + "." + stream + ".log")
}

// ShortName is a label's last word: daemon, edge, watchdog, userenv.
func ShortName(label string) string {
	if label == Daemon {
		return "daemon"
	}
	return strings.TrimPrefix(label, Daemon+".")
}

// Mode is the recorded install mode, "" if nothing is installed.
func (p Paths) Mode() string {
	b, err := smallfile.Read(p.InstallMode(), smallfile.Max)
	if err != nil || len(b) > 64 {
		return ""
	}
	return strings.TrimSpace(string(b))
}
