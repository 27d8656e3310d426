package attribution_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/haltonlabs/halton-meter/meter/attribution"
)

func TestSlug(t *testing.T) {
	long := strings.Repeat("a", attribution.MaxSlug)
	for _, tc := range []struct{ name, want string }{
		{"billing", "billing"},
		{"Billing", "billing"},
		{"acme/api:v2_x-1", "acme/api:v2_x-1"},
		{"-", "-"},
		{long, long},
	} {
		if got, err := attribution.Slug(tc.name); got != tc.want || err != nil {
			t.Errorf("Slug(%q) = %q, %v; want %q", tc.name, got, err, tc.want)
		}
	}
	for name, problem := range map[string]string{
		"":           "is empty",
		long + "a":   "is too long",
		"/a":         "begins or ends with a slash",
		"a/":         "begins or ends with a slash",
		"/":          "begins or ends with a slash",
		"a//b":       "has an empty part",
		"a b":        `has the character ' '`,
		"a.b":        `has the character '.'`,
		"a\x00b":     `has the character '\x00'`,
		"ünder":      `has the character 'ü'`,
		"\u212a":     "has the character", // the Kelvin sign, whose lower case is k
		"a\xffb":     "has the character",
		"<script>":   `has the character '<'`,
		"%2e%2e":     `has the character '%'`,
		"project\n":  `has the character '\n'`,
		"../../etc":  `has the character '.'`,
		"a\u200bb":   "has the character",
		"a\\b":       "has the character",
		"name@work":  "has the character",
		"percent%41": "has the character",
	} {
		got, err := attribution.Slug(name)
		slugErr, ok := errors.AsType[*attribution.SlugError](err)
		if got != "" || !ok || !strings.Contains(slugErr.Problem, problem) {
			t.Errorf("Slug(%q) = %q, %v; want a *SlugError that %s", name, got, err, problem)
		}
		if err != nil && !strings.Contains(err.Error(), "letters, digits, and - _ : /") {
			t.Errorf("Slug(%q): %v does not say what is allowed", name, err)
		}
	}
}

func TestSlugIsStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slug, err := attribution.Slug(rapid.String().Draw(t, "name"))
		if err != nil {
			return
		}
		if again, err := attribution.Slug(slug); again != slug || err != nil {
			t.Fatalf("Slug(%q) = %q, %v", slug, again, err)
		}
	})
}

func TestResolveOrder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "Work Dir")
	repo := filepath.Join(dir, "repo")
	below := filepath.Join(repo, "cmd", "Tool.v2")
	write(t, filepath.Join(repo, ".git", "HEAD"), "ref: refs/heads/main\n")
	write(t, filepath.Join(repo, ".haltonrc"), "project = \"from-rc\"\n")
	mkdir(t, below)

	r := attribution.Resolver{Default: "Fallback"}
	all := attribution.Facts{ProxyUser: "Proxy/User", EnvProject: "from-env", Dir: below}
	want := func(project, source string) {
		t.Helper()
		for range 2 {
			if p, s := r.Resolve(all); p != project || s != source {
				t.Errorf("Resolve(%+v) = %q, %q; want %q, %q", all, p, s, project, source)
			}
		}
	}
	want("proxy/user", attribution.SourceProxyURL)
	all.ProxyUser = "no slug"
	want("from-env", attribution.SourceEnv)
	all.EnvProject = "/no-slug"
	want("from-rc", attribution.SourceRCFile)
	write(t, filepath.Join(repo, ".haltonrc"), "project = no slug\n")
	want("repo", attribution.SourceGit)
	remove(t, filepath.Join(repo, ".git"))
	want("tool-v2", attribution.SourceWorkDir)
	all.Dir = "/"
	want("fallback", attribution.SourceDefault)
	r.Default = "not a slug"
	want("misc", attribution.SourceDefault)
	r, all = attribution.Resolver{}, attribution.Facts{}
	want("misc", attribution.SourceDefault)
}

func TestRelativeDirNamesNothing(t *testing.T) {
	for _, dir := range []string{"", ".", "attribution", "../attribution"} {
		got := [...]string{attribution.FromRCFile(dir), attribution.FromGit(dir), attribution.FromDir(dir)}
		if got != [3]string{} {
			t.Errorf("from %q: %q, want nothing", dir, got)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	mkdir(t, filepath.Dir(path))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}
