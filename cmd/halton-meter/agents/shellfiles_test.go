package agents_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
)

// What was written in one environment is found, and taken back, in another.
func TestShellFilesOfAnotherEnvironment(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	p := agents.Paths{Home: home, State: filepath.Join(home, "state")}
	for _, dir := range []string{p.State, filepath.Join(home, "zd")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	env := func(vars map[string]string) []shellenv.RCFile {
		return agents.ShellFiles(p, func(name string) string { return vars[name] })
	}
	rc := filepath.Join(home, "zd", ".zshrc")
	steps := func(mode string, files []shellenv.RCFile) {
		in := &agents.Installer{Paths: p, Mode: mode, ShellFiles: files}
		for _, step := range in.OuterSteps() {
			if step.Name != "shell files" {
				continue
			}
			if _, err := step.Do(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	steps(agents.ModeApps, env(map[string]string{"SHELL": "/bin/zsh", "ZDOTDIR": filepath.Dir(rc)}))
	text, err := os.ReadFile(rc)
	if err != nil || !strings.Contains(string(text), "HALTON_METER_HOME="+p.State+" ") {
		t.Fatalf("%s says %q, %v", rc, text, err)
	}
	var paths []string
	for _, f := range env(map[string]string{"SHELL": "/bin/bash"}) {
		paths = append(paths, strings.TrimPrefix(f.Path, home))
	}
	if got := strings.Join(paths, " "); got != "/.bashrc /zd/.zshrc" {
		t.Errorf("in another environment: %s", got)
	}
	steps(agents.ModeEnvOnly, env(map[string]string{"SHELL": "/bin/bash"}))
	if _, err := os.Stat(rc); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", rc, err)
	}
	if left, err := os.ReadDir(p.State); err != nil || len(left) != 0 {
		t.Errorf("the state directory holds %v, %v", left, err)
	}
}
