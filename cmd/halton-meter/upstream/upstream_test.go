package upstream_test

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/upstream"
)

func ours(u *url.URL) bool { return u.Host == "127.0.0.1:8081" }

func TestWhatTheEnvironmentSays(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		env                  map[string]string
		proxy, noProxy, from string
		unusable             bool
	}{
		"nothing":          {},
		"upper case":       {env: map[string]string{"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "a"}, proxy: "http://p:3128", noProxy: "a", from: "HTTPS_PROXY"},
		"lower case wins":  {env: map[string]string{"HTTPS_PROXY": "http://x:1", "https_proxy": "http://p:3128/", "no_proxy": "b", "NO_PROXY": "a"}, proxy: "http://p:3128", noProxy: "b", from: "https_proxy"},
		"no scheme":        {env: map[string]string{"HTTPS_PROXY": "p:3128"}, proxy: "http://p:3128", from: "HTTPS_PROXY"},
		"credentials":      {env: map[string]string{"HTTPS_PROXY": "https://me:pw@p:3128"}, proxy: "https://me:pw@p:3128", from: "HTTPS_PROXY"},
		"for everything":   {env: map[string]string{"ALL_PROXY": "http://p:1"}, proxy: "http://p:1", from: "ALL_PROXY"},
		"our own":          {env: map[string]string{"HTTPS_PROXY": "http://billing:x@127.0.0.1:8081"}},
		"socks":            {env: map[string]string{"ALL_PROXY": "socks5h://me:pw@127.0.0.1:1080"}, unusable: true},
		"garbage":          {env: map[string]string{"HTTPS_PROXY": "::pw::"}, unusable: true},
		"https before all": {env: map[string]string{"HTTPS_PROXY": "http://p:1", "ALL_PROXY": "socks5://q:1"}, proxy: "http://p:1", from: "HTTPS_PROXY"},
	} {
		a, err := upstream.FromEnvironment(func(n string) string { return tt.env[n] }, ours)
		if errors.Is(err, upstream.ErrUnusable) != tt.unusable || (err != nil) != tt.unusable {
			t.Errorf("%s: error %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("%s: the error tells the password: %v", name, err)
		}
		if a.Proxy != tt.proxy || a.NoProxy != tt.noProxy || a.From != tt.from {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

func TestTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "upstream.json")
	if a, err := upstream.Read(path); err != nil || a.Proxy != "" {
		t.Fatalf("no file: %+v, %v", a, err)
	}
	a := upstream.Adopted{Proxy: "http://me:pw@p:3128", NoProxy: "a", From: "HTTPS_PROXY"}
	if err := a.Write(path); err != nil {
		t.Fatal(err)
	}
	b, err := upstream.Read(path)
	if err != nil || !a.Same(b) || b.From != a.From {
		t.Fatalf("%+v, %v", b, err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if got := a.Redacted(); strings.Contains(got, "pw") || !strings.Contains(got, "p:3128") {
		t.Errorf("redacted %q", got)
	}
	for _, text := range []string{"", "{", `{"proxy":"socks5://p:1"}`, `{"proxy":7}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if b, err := upstream.Read(path); err == nil || b.Proxy != "" {
			t.Errorf("%q: %+v, %v", text, b, err)
		}
	}
}

func TestTheConfigurationIsStronger(t *testing.T) {
	t.Parallel()
	a := upstream.Adopted{Proxy: "http://p:1", NoProxy: "a"}
	for _, tt := range []struct{ conf, want config.Upstream }{
		{config.Upstream{}, config.Upstream{Proxy: "http://p:1", NoProxy: "a"}},
		{config.Upstream{NoProxy: "b", CAFile: "c"}, config.Upstream{Proxy: "http://p:1", NoProxy: "b", CAFile: "c"}},
		{config.Upstream{Proxy: "http://q:2"}, config.Upstream{Proxy: "http://q:2"}},
	} {
		if got := a.Apply(tt.conf); got != tt.want {
			t.Errorf("%+v: %+v, want %+v", tt.conf, got, tt.want)
		}
	}
	if got := (upstream.Adopted{}).Apply(config.Upstream{CAFile: "c"}); got.Proxy != "" {
		t.Errorf("nothing adopted: %+v", got)
	}
}

func TestNoProxyAnd(t *testing.T) {
	t.Parallel()
	a := upstream.Adopted{NoProxy: "a, .b"}
	for list, want := range map[string]string{"": "a, .b", ".b": "a, .b", "a,c, .b d": "a,.b,c,d"} {
		if got := a.NoProxyAnd(list); got != want {
			t.Errorf("%q: %q, want %q", list, got, want)
		}
	}
}
