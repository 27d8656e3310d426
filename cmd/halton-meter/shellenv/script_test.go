package shellenv_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
)

var settings = shellenv.Settings{
	Edge: "127.0.0.1:8081", Bundle: `/s t/it's "a" \b$HOME.pem`, BundleVariables: []string{"SSL_CERT_FILE"},
}

// evaluate runs a script in the shell of this machine and returns the
// variables that it leaves.
func evaluate(t *testing.T, script string, env ...string) map[string]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", script+"\nexec env -0")
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, script)
	}
	got := map[string]string{}
	for kv := range strings.SplitSeq(string(out), "\x00") {
		if name, v, ok := strings.Cut(kv, "="); ok && strings.Contains("HTTPS_PROXY https_proxy NO_PROXY no_proxy SSL_CERT_FILE NODE_USE_ENV_PROXY", name) {
			got[name] = v
		}
	}
	return got
}

func TestAShellReadsTheScript(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"HTTPS_PROXY": "http://127.0.0.1:8081", "https_proxy": "http://127.0.0.1:8081",
		"NO_PROXY": "a.example,localhost,127.0.0.1,::1", "no_proxy": "a.example,localhost,127.0.0.1,::1",
		"SSL_CERT_FILE": settings.Bundle,
	}
	env := []string{"NO_PROXY=a.example"}
	got := evaluate(t, settings.Script(shellenv.POSIX, env), env...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	var now []string
	for name, v := range got {
		now = append(now, name+"="+v)
	}
	if again := settings.Script(shellenv.POSIX, now); again != "" {
		t.Errorf("a second time it says %q", again)
	}
	left := evaluate(t, settings.Clear(shellenv.POSIX, now), now...)
	if diff := cmp.Diff(map[string]string{"NO_PROXY": want["NO_PROXY"], "no_proxy": want["NO_PROXY"]}, left); diff != "" {
		t.Error(diff)
	}
}

func TestFishScript(t *testing.T) {
	t.Parallel()
	s := shellenv.Settings{Edge: "127.0.0.1:1"}
	want := "set -gx HTTPS_PROXY http://127.0.0.1:1\nset -gx NO_PROXY localhost,127.0.0.1,::1\n" +
		"set -gx https_proxy http://127.0.0.1:1\nset -gx no_proxy localhost,127.0.0.1,::1\n"
	if diff := cmp.Diff(want, s.Script(shellenv.Fish, nil)); diff != "" {
		t.Error(diff)
	}
	if got, want := s.Clear(shellenv.Fish, []string{"HTTPS_PROXY=http://p:x@127.0.0.1:1"}), "set -e HTTPS_PROXY\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestOthersSettingsAreNotOurs(t *testing.T) {
	t.Parallel()
	env := []string{
		"HTTPS_PROXY=http://proxy.corp.example:3128", "https_proxy=http://me:x@127.0.0.1:8081",
		"SSL_CERT_FILE=/corp.pem", "NO_PROXY=a.example,localhost",
	}
	if got, want := settings.Ours(env), []string{"https_proxy"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "plain/path-1.2", "a b", `it's`, `back\slash`, `"$HOME" && rm *`, "tab\there", "é"} {
		out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", "printf %s "+shellenv.Quote(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("%q: the shell reads %q, %v", s, out, err)
		}
	}
}
