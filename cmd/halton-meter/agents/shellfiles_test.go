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

// Whoever keeps the shells' files to himself says so once.
func TestLeavesShellFilesAlone(t *testing.T) {
	t.Parallel()
	p := agents.Paths{Home: t.TempDir(), State: t.TempDir()}
	install := func(noShellRC bool) {
		t.Helper()
		in := &agents.Installer{
			Paths: p, Mode: agents.ModeApps, NoShellRC: noShellRC,
			ShellFiles: agents.ShellFiles(p, func(name string) string { return map[string]string{"SHELL": "/bin/bash"}[name] }),
		}
		if _, err := in.OuterSteps()[0].Do(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct{ noShellRC, alone, line bool }{
		{true, true, false}, {true, true, false}, {false, false, true}, {true, false, true},
	} {
		install(step.noShellRC)
		if got := agents.LeavesShellFilesAlone(p); got != step.alone {
			t.Errorf("%+v: alone %v", step, got)
		}
		if _, err := os.Stat(filepath.Join(p.Home, ".bashrc")); (err == nil) != step.line {
			t.Errorf("%+v: %v", step, err)
		}
	}
}

// A file that cannot be written today keeps nobody in the mode, and is tried
// again.
func TestAShellFileThatCannotBeCleaned(t *testing.T) {
	t.Parallel()
	p := agents.Paths{Home: t.TempDir(), State: t.TempDir()}
	rc := filepath.Join(p.Home, ".bashrc")
	clean := func(mode string) string {
		t.Helper()
		in := &agents.Installer{
			Paths: p, Mode: mode,
			ShellFiles: agents.ShellFiles(p, func(name string) string { return map[string]string{"SHELL": "/bin/bash"}[name] }),
		}
		detail, err := in.OuterSteps()[0].Do(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return detail
	}
	clean(agents.ModeApps)
	whole, err := os.ReadFile(rc)
	if err != nil {
		t.Fatal(err)
	}
	half, _, _ := strings.Cut(string(whole), "# <<<")
	for _, text := range []string{half, string(whole)} {
		left := text == half
		if err := os.WriteFile(rc, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if detail := clean(agents.ModeEnvOnly); strings.Contains(detail, "yourself") != left {
			t.Errorf("left %v: %s", left, detail)
		}
		if left {
			continue
		}
		if _, err := os.Stat(rc); err == nil {
			t.Errorf("%s is left", rc)
		}
	}
}
