package agents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
	"github.com/haltonlabs/halton-meter/internal/atomicfile"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
)

// Settings are the variables that lead programs through the edge.
func Settings(p Paths) shellenv.Settings {
	return shellenv.Settings{Edge: EdgeAddress(EdgePort(p)), Bundle: p.Bundle(), BundleVariables: BundleVariables}
}

// setVariable is one variable that was set in launchd's environment, as the
// sentinel apps-managed keeps it.
type setVariable struct {
	Value string `json:"value"`
	// Was is what it said before, "" for nothing.
	Was string `json:"was,omitempty"`
}

func readAppsManaged(p Paths) map[string]setVariable {
	set := map[string]setVariable{}
	data, err := smallfile.Read(p.AppsManaged(), smallfile.Max)
	if err != nil || json.Unmarshal(data, &set) != nil {
		// Unreadable: then only what has our own value is known to be ours.
		return map[string]setVariable{}
	}
	return set
}

// SetLoginEnvironment sets the variables in launchd's environment, from which
// GUI programs inherit. The caller has seen the edge answer: a program that is
// pointed at a dead port fails. What the variables said before is kept for
// ClearLoginEnvironment; a proxy of the user's must have been adopted.
func SetLoginEnvironment(ctx context.Context, p Paths, s Supervisor) (names []string, err error) {
	var env []string
	was := map[string]string{}
	settings := Settings(p)
	for _, name := range settings.Names() {
		v, err := s.Getenv(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("read launchd's environment: %w", err)
		}
		if was[name] = v; v != "" {
			env = append(env, name+"="+v)
		}
	}
	ours := settings.Ours(env)
	set := readAppsManaged(p)
	want := settings.Variables(env)
	for name, value := range want {
		old := set[name]
		if was[name] != old.Value && !slices.Contains(ours, name) {
			old.Was = was[name]
		}
		set[name] = setVariable{Value: value, Was: old.Was}
		names = append(names, name)
	}
	slices.Sort(names)
	// First the note, then the deed: what is set must be known to be ours.
	data, err := json.MarshalIndent(set, "", "  ")
	if err == nil {
		err = atomicfile.Write(p.AppsManaged(), append(data, '\n'), 0o600)
	}
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if was[name] == want[name] {
			continue
		}
		if err := s.Setenv(ctx, name, want[name]); err != nil {
			return nil, fmt.Errorf("set %s in launchd's environment: %w", name, err)
		}
	}
	return names, nil
}

// ClearLoginEnvironment puts launchd's environment back, and leaves what
// somebody has changed since.
func ClearLoginEnvironment(ctx context.Context, p Paths, s Supervisor) error {
	set := readAppsManaged(p)
	var errs []error
	var env []string
	for _, name := range Settings(p).Names() {
		v, err := s.Getenv(ctx, name)
		errs = append(errs, err)
		if v != "" {
			env = append(env, name+"="+v)
		}
	}
	ours := Settings(p).Ours(env)
	for _, kv := range env {
		name, v, _ := strings.Cut(kv, "=")
		note, noted := set[name]
		switch {
		case noted && v == note.Value && note.Was != "":
			errs = append(errs, s.Setenv(ctx, name, note.Was))
		case noted && v == note.Value, slices.Contains(ours, name):
			errs = append(errs, s.Unsetenv(ctx, name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clear launchd's environment: %w", err)
	}
	if err := os.Remove(p.AppsManaged()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
