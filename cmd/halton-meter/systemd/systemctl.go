package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/haltonlabs/halton-meter/internal/atomicfile"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
)

// Launchctl answers for launchctl.
type Launchctl struct {
	// Dir is where the user's units lie: ~/.config/systemd/user.
	Dir string
	// Name is the name of a label's units, without a suffix.
	Name func(label string) string
}

// NoBus begins systemctl's message when there is no user manager to talk to.
const NoBus = "Failed to connect to bus"

// state is what systemctl show tells of a unit.
type state map[string]string

func (l Launchctl) path(unit string) string { return filepath.Join(l.Dir, unit) }

// Installed reports whether there are units of one of the labels.
func (l Launchctl) Installed(labels ...string) bool {
	for _, label := range labels {
		if _, err := os.Lstat(l.path(l.Name(label) + ".service")); err == nil {
			return true
		}
	}
	return false
}

// Check is nil if the user manager answers.
func (l Launchctl) Check(ctx context.Context) error {
	_, err := l.systemctl(ctx, "show-environment")
	return err
}

// Remove deletes the labels' units. Where no manager answers the files count.
func (l Launchctl) Remove(ctx context.Context, labels ...string) error {
	for _, label := range labels {
		for _, suffix := range []string{".service", ".socket"} {
			if err := os.Remove(l.path(l.Name(label) + suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	// user, systemd and .config itself: one that is not empty stays.
	for dir, n := l.Dir, 0; n < 3 && os.Remove(dir) == nil; n++ {
		dir = filepath.Dir(dir)
	}
	_, err := l.systemctl(ctx, "daemon-reload")
	if noBus(err) {
		return nil
	}
	return err
}

// refusal is a systemctl that failed.
type refusal struct {
	args   []string
	stderr string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("systemctl --user %s: %s", strings.Join(r.args, " "), strings.TrimSpace(r.stderr))
}

// denied reports whether another attempt would be refused as well.
func denied(err error) bool {
	var r *refusal
	return errors.As(err, &r) && (strings.Contains(r.stderr, "Access denied") || strings.Contains(r.stderr, "Permission denied"))
}

func noBus(err error) bool {
	var r *refusal
	return errors.As(err, &r) && strings.Contains(r.stderr, NoBus)
}

func (l Launchctl) systemctl(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "systemctl", append([]string{"--user", "--no-pager"}, args...)...)
	cmd.Env = environment(os.Environ())
	cmd.WaitDelay = time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return out.Bytes(), &refusal{args, errs.String()}
	}
	return out.Bytes(), err
}

// environment names the user's runtime directory where a shell of su, cron or
// an old ssh session does not: without it systemctl finds no manager.
func environment(env []string) []string {
	for _, kv := range env {
		if strings.HasPrefix(kv, "XDG_RUNTIME_DIR=") {
			return env
		}
	}
	dir := "/run/user/" + strconv.Itoa(os.Getuid())
	if _, err := os.Stat(dir); err != nil {
		return env
	}
	return append(env, "XDG_RUNTIME_DIR="+dir)
}

const shown = "LoadState,ActiveState,UnitFileState,MainPID,NRestarts,ExecMainCode,ExecMainStatus,ExecMainStartTimestampMonotonic"

// show asks for a service's state.
func (l Launchctl) show(ctx context.Context, label string) (state, error) {
	out, err := l.systemctl(ctx, "show", "--property="+shown, l.Name(label)+".service")
	if err != nil {
		return nil, err
	}
	s := state{}
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		s[key] = value
	}
	return s, nil
}

func (s state) loaded() bool { return s["UnitFileState"] == "enabled" || s.active() }

// active reports whether it has a process, or will have one without a demand.
func (s state) active() bool {
	switch s["ActiveState"] {
	case "active", "activating", "deactivating", "reloading":
		return true
	}
	return false
}

func (s state) number(key string) int {
	n, err := strconv.Atoi(s[key])
	if err != nil {
		return 0
	}
	return n
}

// write puts a unit's file in place.
func (l Launchctl) write(unit, content string) error {
	old, err := smallfile.Read(l.path(unit), smallfile.Max)
	switch {
	case err == nil && string(old) == content:
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := os.MkdirAll(l.Dir, 0o755); err != nil { //nolint:gosec // as systemctl makes it
		return err
	}
	return atomicfile.Write(l.path(unit), []byte(content), 0o644)
}
