package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
)

func load(t *testing.T, content string) (config.Config, string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	return c, filepath.Dir(path), err
}

func TestLoad(t *testing.T) {
	c, dir, err := load(t, `
[daemon]
edge_port = 8181

[edge]
allow_local = true

[upstream]
ca_file = "corp.pem"
proxy = "http://user:secret@proxy.example:3128"
no_proxy = ".internal.example"

[tagging]
default_project = "inbox"

[ledger]
keep_days = 90
`)
	if err != nil {
		t.Fatal(err)
	}
	if c.Daemon.EdgePort != 8181 || c.Daemon.APIPort != 0 {
		t.Errorf("ports: %+v", c.Daemon)
	}
	if !c.Edge.AllowLocal {
		t.Error("allow_local is false")
	}
	if want := filepath.Join(dir, "corp.pem"); c.Upstream.CAFile != want {
		t.Errorf("ca_file %q, want %q", c.Upstream.CAFile, want)
	}
	if u, err := c.Upstream.ProxyURL(); err != nil || u.Host != "proxy.example:3128" {
		t.Errorf("proxy %v, %v", u, err)
	}
	if c.Ledger.KeepDays != 90 {
		t.Errorf("keep_days %d, want 90", c.Ledger.KeepDays)
	}
	if c.Tagging.DefaultProject != "inbox" {
		t.Errorf("default project %q", c.Tagging.DefaultProject)
	}
}

func TestAMissingFileIsTheDefault(t *testing.T) {
	c, err := config.Load(filepath.Join(t.TempDir(), "config.toml"))
	if err != nil || !reflect.DeepEqual(c, config.Config{}) {
		t.Errorf("got %+v, %v", c, err)
	}
	if u, err := c.Upstream.ProxyURL(); u != nil || err != nil {
		t.Errorf("proxy %v, %v", u, err)
	}
}

func TestErrorsNameThePlace(t *testing.T) {
	tests := map[string]struct{ content, want string }{
		"unknown key":   {"[daemon]\nedge_prot = 1\n", "line 2: unknown key daemon.edge_prot"},
		"wrong type":    {"[daemon]\nedge_port = \"x\"\n", "line 2"},
		"broken":        {"[daemon\n", "line 1"},
		"no flag":       {"[edge]\nallow_local = \"yes\"\n", "line 2"},
		"no port":       {"[daemon]\napi_port = 70000\n", "daemon.api_port = 70000"},
		"negative port": {"[daemon]\napi_port = -1\n", "daemon.api_port = -1"},
		"twice":         {"[daemon]\napi_port = 9000\nedge_port = 9000\n", "are both 9000"},
		"no proxy URL":  {"[upstream]\nproxy = \"proxy:secret@3128\"\n", "upstream.proxy"},
		"negative days": {"[ledger]\nkeep_days = -1\n", "ledger.keep_days = -1"},
		"ages":          {"[ledger]\nkeep_days = 365000\n", "0 to keep every row"},
		"bad project":   {"[tagging]\ndefault_project = \"my project\"\n", "default_project"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, _, err := load(t, tt.content)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells the password: %v", err)
			}
			_ = c
		})
	}
}
