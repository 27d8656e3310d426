package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs testdata/script, each script on a machine of its own: a new
// HOME, free ports, a provider that replays recordings. Beside testscript's own
// commands they have "exits CODE PROGRAM ARGS…", "call N", which sends a
// recorded request in run's environment, and "listing FILE", which writes what
// lies in HOME.
func TestScripts(t *testing.T) {
	t.Parallel()
	var machines []*machine // of testscript's goroutines: each reads its own
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d scripts, %v", len(files), err)
	}
	for range files {
		machines = append(machines, newMachine(t, freePorts(t)))
	}
	testscript.Run(t, testscript.Params{
		Files: files,
		Setup: func(env *testscript.Env) error {
			i := slices.IndexFunc(files, func(f string) bool {
				return filepath.Base(env.WorkDir) == "script-"+strings.TrimSuffix(filepath.Base(f), ".txtar")
			})
			if i < 0 {
				return fmt.Errorf("no machine for %s", env.WorkDir)
			}
			env.Values[machineKey] = machines[i]
			for _, kv := range machines[i].env {
				name, value, _ := strings.Cut(kv, "=")
				env.Setenv(name, value)
			}
			env.Setenv("PATH", filepath.Dir(program)+":"+os.Getenv("PATH"))
			env.Setenv("SHELL", "/bin/bash")
			env.Setenv("STATE", machines[i].paths().State)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": scriptExits, "call": scriptCall, "listing": scriptListing,
		},
	})
}

// machineKey is where a script finds its machine.
const machineKey = "machine"

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	var exit *exec.ExitError
	switch err := ts.Exec(args[1], args[2:]...); {
	case errors.As(err, &exit):
		code = exit.ExitCode()
	default:
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("%s: exit code %d, want %d", strings.Join(args[1:], " "), code, want)
	}
}

func scriptCall(ts *testscript.TestScript, _ bool, args []string) {
	m := ts.Value(machineKey).(*machine)
	i, err := strconv.Atoi(args[0])
	ts.Check(err)
	_, err = m.play(m.client(""), i)
	ts.Check(err)
}

func scriptListing(ts *testscript.TestScript, _ bool, args []string) {
	m := ts.Value(machineKey).(*machine)
	var b strings.Builder
	ts.Check(filepath.WalkDir(m.home, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(m.home, path)
		fmt.Fprintln(&b, rel)
		return err
	}))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o600))
}
