package shellenv

import (
	"slices"
	"strings"
)

// Quote makes s one word of a POSIX shell, and of fish.
func Quote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,@%+=", r)
	}) {
		return s
	}
	// Inside single quotes fish, unlike sh, takes a backslash for an escape.
	return "'" + strings.NewReplacer(`\`, `'"\\"'`, "'", `'"'"'`).Replace(s) + "'"
}

// Dialect is how a shell sets variables.
type Dialect struct {
	set, unset string
	assign     string
}

// The dialects that Script writes.
var (
	POSIX = Dialect{set: "export ", unset: "unset ", assign: "="}
	Fish  = Dialect{set: "set -gx ", unset: "set -e ", assign: " "}
)

// Script is shell code that makes an environment (as os.Environ gives it) say
// what the settings say; it is empty if it does already.
func (s Settings) Script(d Dialect, env []string) string {
	want := s.Variables(env)
	names := make([]string, 0, len(want))
	for name := range want {
		names = append(names, name)
	}
	slices.Sort(names)
	var out strings.Builder
	for _, name := range names {
		if value(env, name) != want[name] {
			out.WriteString(d.set + name + d.assign + Quote(want[name]) + "\n")
		}
	}
	return out.String()
}

// Clear is shell code that takes our own settings out of an environment, and
// leaves what somebody else set.
func (s Settings) Clear(d Dialect, env []string) string {
	var out strings.Builder
	for _, name := range s.Ours(env) {
		out.WriteString(d.unset + name + "\n")
	}
	return out.String()
}

// Names are the variables that the settings may set.
func (s Settings) Names() []string {
	var names []string
	for name := range s.Variables(nil) {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Ours are the variables of env that lead to the edge or name the bundle.
// NO_PROXY is among them only where nothing but our own part is in it.
func (s Settings) Ours(env []string) []string {
	var names []string
	for name, ours := range s.Variables(nil) {
		v := value(env, name)
		switch {
		case v == "":
		case isProxyVariable(name) && s.leadsToEdge(v), !isProxyVariable(name) && v == ours:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
