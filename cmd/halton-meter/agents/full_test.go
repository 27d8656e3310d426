package agents_test

import (
	"errors"
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

// Who deletes files of ours in mode full must not lose the network with the
// edge.
func TestSystemProxyWithoutItsFiles(t *testing.T) {
	dir := t.TempDir()
	script, err := os.ReadFile("../testdata/mac/networksetup")
	if err != nil {
		t.Fatal(err)
	}
	wifi := filepath.Join(dir, "state", "Wi-Fi")
	set := func(proxy string) {
		host, port, _ := strings.Cut(proxy, ":")
		for name, text := range map[string]string{"secure.on": "Yes", "secure.server": host, "secure.port": port} {
			if err := os.WriteFile(filepath.Join(wifi, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "networksetup"), script, 0o755), os.MkdirAll(wifi, 0o700)); err != nil {
		t.Fatal(err)
	}
	p, tools := testPaths(t), mactools.Tools{Dir: dir}
	for name, off := range map[string]func() error{
		"the watchdog": func() error { return agents.ReleaseSystemProxy(t.Context(), p, tools) },
		"uninstall":    func() error { return agents.ReturnSystemProxy(t.Context(), p, tools) },
	} {
		for _, tt := range []struct{ what, proxy, note, want string }{
			{"in another mode", "127.0.0.1:8081", "", "Yes"},
			{"without plists", "127.0.0.1:8183", "127.0.0.1:8183\n", "No"},
			{"with a note that is garbled", "127.0.0.1:8081", "garbage", "No"},
			{"without a state directory", "127.0.0.1:8081", "deleted", "No"},
			{"that is another's", "proxy.corp.example:8081", "deleted", "Yes"},
		} {
			set(tt.proxy)
			if err := errors.Join(os.RemoveAll(p.State), os.MkdirAll(p.State, 0o700)); err != nil {
				t.Fatal(err)
			}
			switch tt.note {
			case "":
				err = nil
			case "deleted":
				err = os.RemoveAll(p.State)
			default:
				err = os.WriteFile(p.ProxyManaged(), []byte(tt.note), 0o600)
			}
			if err := errors.Join(err, off()); err != nil {
				t.Fatal(err)
			}
			if on, err := os.ReadFile(filepath.Join(wifi, "secure.on")); err != nil || string(on) != tt.want {
				t.Errorf("%s: a proxy %s is %s on, want %s (%v)", name, tt.what, on, tt.want, err)
			}
		}
	}
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
