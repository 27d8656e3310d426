package agents_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/mactools"
	"github.com/haltonlabs/halton-meter/meter/ca"
)

// keychain is a stand-in for macOS's, and counts how often the user was asked.
type keychain struct{ dir string }

func newKeychain(t *testing.T) keychain {
	t.Helper()
	k := keychain{t.TempDir()}
	script, err := os.ReadFile("../testdata/mac/security")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(k.dir, "security"), script, 0o755); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k keychain) tools() mactools.Tools { return mactools.Tools{Dir: k.dir} }

func (k keychain) asked() int {
	calls, _ := os.ReadFile(filepath.Join(k.dir, "calls"))
	return strings.Count(string(calls), "add-trusted-cert")
}

// A root that was added later needs trust of its own, and loses it with the
// first.
func TestKeychainTrustsEveryRoot(t *testing.T) {
	p, k := testPaths(t), newKeychain(t)
	ctx, tools := t.Context(), k.tools()
	trusted := func(want bool) {
		t.Helper()
		if got, err := agents.RootsTrusted(ctx, p, tools); err != nil || got != want {
			t.Fatalf("trusted %v, %v; want %v", got, err, want)
		}
	}
	trust := func(asks int) {
		t.Helper()
		before := k.asked()
		if asked, err := agents.TrustRoots(ctx, p, tools); err != nil || asked != (asks > 0) || k.asked()-before != asks {
			t.Fatalf("asked %v, %d times, %v; want %d", asked, k.asked()-before, err, asks)
		}
	}
	trusted(false) // there is none
	if err := ca.Create(p.CA(), []string{"api.example.com"}); err != nil {
		t.Fatal(err)
	}
	trusted(false)
	trust(1)
	trusted(true)
	for _, host := range []string{"api.example.org", "api.example.net"} {
		if _, err := ca.Extend(p.CA(), []string{host}); err != nil {
			t.Fatal(err)
		}
	}
	trusted(false)
	trust(2)
	trusted(true)
	trust(0)
	if err := agents.UntrustRoots(ctx, p, tools); err != nil {
		t.Fatal(err)
	}
	trusted(false)
	if _, err := os.Stat(filepath.Join(k.dir, "keychain")); err == nil {
		t.Error("the keychain has roots of ours still")
	}
}

// Programs that follow the system proxy would refuse a root that "run" added:
// only init can have the keychain trust it.
func TestBundleAddsNoRootInModeFull(t *testing.T) {
	for _, mode := range []string{agents.ModeFull, agents.ModeEnvOnly} {
		p := testPaths(t)
		if err := ca.Create(p.CA(), []string{"api.example.com"}); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p.InstallMode(), []byte(mode+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := agents.EnsureBundle(p, config.Config{}, func(string) string { return "" }); err != nil {
			t.Fatal(err)
		}
		if roots := len(ca.RootFiles(p.CA())); (roots == 1) != (mode == agents.ModeFull) {
			t.Errorf("%s: %d roots", mode, roots)
		}
	}
}
