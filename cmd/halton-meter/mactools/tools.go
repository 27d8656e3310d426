package mactools

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Where macOS keeps its tools. They are not looked up in PATH: somebody's
// wrapper of the same name must not get to see, or do, any of this.
var paths = map[string]string{
	"networksetup": "/usr/sbin/networksetup",
	"scutil":       "/usr/sbin/scutil",
	"security":     "/usr/bin/security",
}

// Tools runs the tools. The zero value runs those of macOS.
type Tools struct {
	// Dir holds the tools, if they are others than the system's.
	Dir string
	// Run replaces running a program; it gets its path and arguments. An
	// error means that it could not be run at all. Nil: it is run.
	Run func(ctx context.Context, path string, args ...string) (Output, error)
}

// Output is what a tool printed, and its exit code.
type Output struct {
	Stdout, Stderr string
	Code           int
}

// Available reports whether there is something to run: a Mac, or a Dir.
func (t Tools) Available() bool { return t.Dir != "" || t.Run != nil || runtime.GOOS == "darwin" }

// Error is a tool's refusal.
type Error struct {
	Tool string   // its name
	Args []string // without passwords: none is ever passed
	Code int
	Text string // what it said
	kind error
}

func (e *Error) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("%s %s: exit code %d", e.Tool, strings.Join(e.Args, " "), e.Code)
	}
	return fmt.Sprintf("%s %s: %s", e.Tool, strings.Join(e.Args, " "), e.Text)
}

func (e *Error) Unwrap() error { return e.kind }

// What an [Error] may be.
var (
	// ErrAdmin means that the change is for administrators only.
	ErrAdmin = errors.New("this needs an administrator")
	// ErrNoInteraction means that macOS wanted to ask for a password and had
	// no screen to do it on, as over ssh.
	ErrNoInteraction = errors.New("macOS could not ask for the password here")
	// ErrDeclined means that the user refused.
	ErrDeclined = errors.New("declined")
)

// kinds are the phrases by which a refusal is told. networksetup says them on
// standard output, security on standard error.
var kinds = []struct {
	phrase string
	kind   error
}{
	{"requires admin privileges", ErrAdmin},
	{"denied since no user interaction was possible", ErrNoInteraction},
	{"user interaction is not allowed", ErrNoInteraction},
	// What security says over ssh, and where the keychain is locked.
	{"errsecinternalcomponent", ErrNoInteraction},
	{"canceled by the user", ErrDeclined},
	{"cancelled by the user", ErrDeclined},
}

func (t Tools) path(tool string) string {
	if t.Dir != "" {
		return filepath.Join(t.Dir, tool)
	}
	return paths[tool]
}

// do runs one tool and returns its standard output.
func (t Tools) do(ctx context.Context, tool string, args ...string) (string, error) {
	path := t.path(tool)
	run := t.Run
	if run == nil {
		run = execute
	}
	out, err := run(ctx, path, args...)
	if err != nil {
		return "", fmt.Errorf("run %s: %w", tool, err)
	}
	// networksetup tells some of its errors with exit code 0.
	if out.Code == 0 && !strings.Contains(out.Stdout, "** Error:") {
		return out.Stdout, nil
	}
	text := strings.Join(strings.Fields(out.Stdout+" "+out.Stderr), " ")
	e := &Error{Tool: tool, Args: args, Code: out.Code, Text: text}
	for _, k := range kinds {
		if strings.Contains(strings.ToLower(text), k.phrase) {
			e.kind = k.kind
		}
	}
	return out.Stdout, e
}

func execute(ctx context.Context, path string, args ...string) (Output, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...) // a constant, or the folder that the caller named
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	out := Output{Stdout: stdout.String(), Stderr: stderr.String()}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		out.Code = exit.ExitCode()
		err = nil
	}
	return out, err
}
