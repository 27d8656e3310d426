package agents

import "slices"

// The install modes beside [ModeEnvOnly].
const (
	// ModeApps leads new shells and GUI programs through the edge, by
	// environment variables.
	ModeApps = "apps"
	// ModeFull makes the edge the system proxy besides.
	ModeFull = "full"
)

// KnownMode reports whether mode is one of the install modes.
func KnownMode(mode string) bool {
	return slices.Contains([]string{ModeEnvOnly, ModeApps, ModeFull}, mode)
}

// ProxyManaged is the sentinel that says that the system proxy is ours.
func (p Paths) ProxyManaged() string { return p.In("proxy-managed") }

// AppsManaged is the sentinel that says that shell files and launchd's
// environment hold our variables.
func (p Paths) AppsManaged() string { return p.In("apps-managed") }

// SystemState is what the system proxy was before.
func (p Paths) SystemState() string { return p.In("system_state.json") }

// Upstream is the proxy that the user had before, in the user's environment.
func (p Paths) Upstream() string { return p.In("upstream.json") }
