package attribution_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/attribution"
)

func TestFromDir(t *testing.T) {
	for dir, want := range map[string]string{
		"/":                 "",
		"/src/api":          "api",
		"/src/api/":         "api",
		"/src/My App.v2":    "my-app-v2",
		"/src/..hidden":     "hidden",
		"/src/日本":           "",
		"/src/日本-x":         "-x",
		"/src/a:b_c":        "a:b_c",
		"/src/" + long(300): long(attribution.MaxSlug),
	} {
		if got := attribution.FromDir(dir); got != want {
			t.Errorf("FromDir(%q) = %q, want %q", dir, got, want)
		}
	}
}

func long(n int) string { return strings.Repeat("n", n) }

func TestFromRCFile(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, ".haltonrc"), "project = outer\n")

	mkdir(t, filepath.Join(root, "plain", "deep", "deeper"))
	write(t, filepath.Join(root, "near", ".haltonrc"), "# mine\nproject = \"near:one\" # here\n")
	mkdir(t, filepath.Join(root, "near", "below"))
	write(t, filepath.Join(root, "silent", ".haltonrc"), "body_capture = off\n")
	write(t, filepath.Join(root, "broken", ".haltonrc"), "projct = x\n")
	write(t, filepath.Join(root, "huge", ".haltonrc"), "#"+strings.Repeat("x", 64<<10))
	mkdir(t, filepath.Join(root, "folder", ".haltonrc"))
	write(t, filepath.Join(root, "file"), "")
	mkdir(t, filepath.Join(root, "fifo"))
	if err := syscall.Mkfifo(filepath.Join(root, "fifo", ".haltonrc"), 0o600); err != nil {
		t.Fatal(err)
	}

	for dir, want := range map[string]string{
		"":                  "outer",
		"plain/deep/deeper": "outer",
		"gone/away":         "outer",
		"file":              "outer",
		"near":              "near:one",
		"near/below":        "near:one",
		"near/../near":      "near:one",
		"silent":            "outer",
		"broken":            "",
		"huge":              "",
		"folder":            "",
		"fifo":              "",
	} {
		if got := attribution.FromRCFile(root + "/" + dir); got != want {
			t.Errorf("in %q: %q, want %q", dir, got, want)
		}
	}
}

func TestParseRC(t *testing.T) {
	for text, want := range map[string]attribution.RC{
		"":                                   {},
		"# only a comment":                   {},
		"project = \"billing\"":              {Project: "billing"},
		"project=Billing/API":                {Project: "billing/api"},
		"  project\t=  x  # why\r\n":         {Project: "x"},
		"project = \"a\"#b":                  {Project: "a"},
		"body_capture = on\nproject = \"p\"": {Project: "p", BodyCapture: "on"},
	} {
		if got, err := attribution.ParseRC([]byte(text)); got != want || err != nil {
			t.Errorf("ParseRC(%q) = %+v, %v; want %+v", text, got, err, want)
		}
	}
	for text, problem := range map[string]string{
		"project":                    "line 1: write it as key = value",
		"[project]":                  "line 1: write it as",
		"\n\nprojects = x":           "line 3: unknown key \"projects\"",
		"project = a b":              "has the character ' '",
		"project = ":                 "is empty",
		"project = \"\"":             "is empty",
		"project = \"a":              "closing quote",
		"project = \"a\" b":          "closing quote",
		"project = 'a'":              "has the character '\\''",
		"project = a\nproject = b":   "line 2: project is set twice",
		"body_capture = yes":         "use on or off",
		"project = a\xff":            "not UTF-8",
		"\ufeffproject = a":          "unknown key",
		"project = a\nPROJECT = b\n": "line 2: unknown key",
	} {
		got, err := attribution.ParseRC([]byte(text))
		if err == nil || !strings.Contains(err.Error(), problem) || got != (attribution.RC{}) {
			t.Errorf("ParseRC(%q) = %+v, %v; want an error with %q", text, got, err, problem)
		}
	}
}

func FuzzParseRC(f *testing.F) {
	f.Add([]byte("# comment\nproject = \"billing\"\nbody_capture = on\n"))
	f.Add([]byte("project = \"a\" # b\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rc, err := attribution.ParseRC(data)
		if err != nil {
			return
		}
		if rc.Project != "" {
			if slug, err := attribution.Slug(rc.Project); slug != rc.Project || err != nil {
				t.Fatalf("ParseRC(%q) gave %q, which is no slug: %v", data, rc.Project, err)
			}
		}
	})
}
