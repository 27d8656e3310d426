package mactools

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The tools are programs: this one is a script in a folder.
func TestToolsFromAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := `#!/bin/sh
[ "$*" = "--proxy" ] || { echo "no: $*" >&2; exit 4; }
cat <<'END'
<dictionary> {
  ExceptionsList : <array> {
    0 : *.local
    1 : 169.254/16
  }
  FTPPassive : 1
  HTTPEnable : 0
  HTTPPort : 8080
  HTTPProxy : old.example
  HTTPSEnable : 1
  HTTPSPort : 3128
  HTTPSProxy : proxy.corp.example
  ProxyAutoConfigEnable : 1
  ProxyAutoConfigURLString : http://wpad.corp.example/proxy.pac
  ProxyAutoDiscoveryEnable : 0
}
END
`
	if err := os.WriteFile(filepath.Join(dir, "scutil"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	tools := Tools{Dir: dir}
	got, err := tools.Effective(t.Context())
	want := Effective{HTTPS: "proxy.corp.example:3128", PAC: "http://wpad.corp.example/proxy.pac"}
	if err != nil || got != want {
		t.Fatalf("%+v, %v; want %+v", got, err, want)
	}
	_, err = tools.do(t.Context(), "scutil", "--dns")
	var refused *Error
	if !errors.As(err, &refused) || refused.Code != 4 || !strings.Contains(err.Error(), "no: --dns") {
		t.Fatalf("refusal: %v", err)
	}
	if _, err := tools.Services(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a tool that is not there: %v", err)
	}
	if !tools.Available() {
		t.Error("a folder of tools is not available")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(twoServices)
	f.Add("Enabled: Yes\nServer: 127.0.0.1\nPort: 8081\nAuthenticated Proxy Enabled: 0\n")
	f.Add("<dictionary> {\n  HTTPSEnable : 1\n}\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range parseServiceOrder(text) {
			if name == "" || strings.ContainsAny(name, "\n") {
				t.Errorf("service %q", name)
			}
		}
		if e, err := parseEndpoint(text); err == nil && (e.Port < 0 || e.Port > 65535) {
			t.Errorf("port %d", e.Port)
		}
		parseEffective(text)
		parseBypass(text)
	})
}
