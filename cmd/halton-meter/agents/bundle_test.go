package agents

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/meter/ca"
)

// TestBundleOfNewHosts: hosts that came after the first root get one of their
// own, and the bundle has both.
func TestBundleOfNewHosts(t *testing.T) {
	p := Paths{Home: t.TempDir()}
	p.State = filepath.Join(p.Home, "state")
	if err := ca.Create(p.CA(), []string{"api.anthropic.com"}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to add
		if err := EnsureBundle(p, config.Config{}, func(string) string { return "" }); err != nil {
			t.Fatal(err)
		}
	}
	a, err := ca.Load(p.CA())
	if err != nil {
		t.Fatal(err)
	}
	roots := a.Certificates()
	if len(roots) != 2 || !a.Permits("api.openai.com") {
		t.Errorf("%d roots, api.openai.com permitted: %v", len(roots), a.Permits("api.openai.com"))
	}
	bundle, err := os.ReadFile(p.Bundle())
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for der := range certificates(bundle) {
		for _, root := range roots {
			if bytes.Equal(der, root.Raw) {
				found++
			}
		}
	}
	if found != len(roots) {
		t.Errorf("the bundle has %d of %d roots", found, len(roots))
	}
}

// Requests takes a folder of roots as well as a file: such a company's roots
// are adopted too.
func TestAFolderOfRootsIsAdopted(t *testing.T) {
	corp := Paths{State: t.TempDir()}
	if err := ca.Create(corp.CA(), []string{"corp.example"}); err != nil {
		t.Fatal(err)
	}
	root, err := os.ReadFile(filepath.Join(corp.CA(), "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, text := range map[string][]byte{"README": []byte("roots"), "corp.crt": bytes.TrimSpace(root)} {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := Paths{State: t.TempDir()}
	if err := ca.Create(p.CA(), []string{"api.example.com"}); err != nil {
		t.Fatal(err)
	}
	getenv := func(name string) string { return map[string]string{"REQUESTS_CA_BUNDLE": folder}[name] }
	if err := EnsureBundle(p, config.Config{}, getenv); err != nil {
		t.Fatal(err)
	}
	bundle, err := os.ReadFile(p.Bundle())
	if err != nil || !bytes.Contains(bundle, bytes.TrimSpace(root)) {
		t.Errorf("the bundle lacks the folder's root: %v", err)
	}
	if got := Outdated(p); len(got) != 1 || got[0] != Daemon {
		t.Errorf("outdated: %q", got)
	}
}
