package agents_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/mactools"
)

// The edge goes one way for all. What decides past the services, or differs
// from one to the other, cannot be handed to it.
func TestSystemProxiesThatAreRefused(t *testing.T) {
	t.Parallel()
	const (
		none = "HTTPSEnable : 0"
		corp = "HTTPSEnable : 1\n  HTTPSPort : 3128\n  HTTPSProxy : proxy.corp.example"
	)
	for name, c := range map[string]struct {
		wifi, lan, effective string
		want                 error
	}{
		"no proxy":               {"", "", none, nil},
		"one, in use":            {"proxy.corp.example", "", corp, nil},
		"the same for both":      {"proxy.corp.example", "proxy.corp.example", corp, nil},
		"one that is not in use": {"", "proxy.corp.example", none, agents.ErrIdleProxy},
		"two":                    {"proxy.corp.example", "proxy.example", corp, agents.ErrIdleProxy},
		"a profile's PAC file": {
			"", "", "ProxyAutoConfigEnable : 1\n  ProxyAutoConfigURLString : http://wpad.corp.example/proxy.pac", agents.ErrAutomaticProxy,
		},
		"discovery by a VPN": {"", "", "ProxyAutoDiscoveryEnable : 1", agents.ErrAutomaticProxy},
	} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS("../testdata/mac")); err != nil {
			t.Fatal(err)
		}
		write := func(path, text string) {
			path = filepath.Join(dir, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for service, server := range map[string]string{"Wi-Fi": c.wifi, "USB LAN": c.lan} {
			write("state/"+service+"/bypass", "*.local\n")
			if server != "" {
				write("state/"+service+"/secure.on", "Yes")
				write("state/"+service+"/secure.server", server)
				write("state/"+service+"/secure.port", "3128")
			}
		}
		write("effective", "<dictionary> {\n  "+c.effective+"\n}\n")
		for _, tool := range []string{"networksetup", "scutil"} {
			if err := os.Chmod(filepath.Join(dir, tool), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		p := agents.Paths{Home: t.TempDir(), State: t.TempDir()}
		if err := agents.CheckSystemProxy(t.Context(), p, mactools.Tools{Dir: dir}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
