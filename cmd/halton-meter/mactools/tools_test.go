package mactools

import (
	"context"
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

// The settings of each interface are printed too, within; they are not what
// programs see.
func TestEffectiveIgnoresWhatIsScoped(t *testing.T) {
	t.Parallel()
	got := parseEffective(`<dictionary> {
  ExceptionsList : <array> {
    0 : *.local
  }
  HTTPSEnable : 1
  HTTPSPort : 3128
  HTTPSProxy : proxy.corp.example
  __SCOPED__ : <dictionary> {
    en0 : <dictionary> {
      HTTPSEnable : 0
      HTTPSPort : 9000
      ProxyAutoConfigEnable : 1
      ProxyAutoConfigURLString : http://wpad.corp.example/proxy.pac
    }
  }
  ProxyAutoDiscoveryEnable : 0
}
`)
	if want := (Effective{HTTPS: "proxy.corp.example:3128"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// What macOS says when it has no screen to ask on.
func TestNoInteraction(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"SecTrustSettingsSetTrustSettings: The authorization was denied since no user interaction was possible.",
		"SecTrustSettingsSetTrustSettings: errSecInternalComponent",
		"security: SecKeychainItemImport: User interaction is not allowed.",
	} {
		tools := Tools{Run: func(context.Context, string, ...string) (Output, error) {
			return Output{Stderr: text + "\n", Code: 1}, nil
		}}
		if err := tools.Trust(t.Context(), "ca.pem", "login.keychain-db"); !errors.Is(err, ErrNoInteraction) {
			t.Errorf("%s: %v", text, err)
		}
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
