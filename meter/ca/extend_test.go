package ca

import (
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestExtend: a new host gets a root of its own beside the first, which stays
// byte for byte.
func TestExtend(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	if err := Create(dir, []string{"api.example.com"}); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(filepath.Join(dir, CertFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		hosts []string
		added bool
	}{
		{[]string{"api.example.com", "below.api.example.com"}, false},
		{[]string{"api.example.com", "llm.example.org"}, true},
		{[]string{"LLM.example.org."}, false},
		{[]string{"third.example.net"}, true},
	} {
		if added, err := Extend(dir, tt.hosts); added != tt.added || err != nil {
			t.Errorf("Extend for %v: %v, %v", tt.hosts, added, err)
		}
	}
	if now, err := os.ReadFile(filepath.Join(dir, CertFile)); string(now) != string(first) || err != nil {
		t.Error("the first root has changed", err)
	}
	a, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	roots := a.Certificates()
	if len(roots) != 3 || !roots[0].Equal(a.Certificate()) {
		t.Fatalf("%d roots", len(roots))
	}
	for i, host := range []string{"api.example.com", "llm.example.org", "third.example.net"} {
		cert, err := a.Leaf(host)
		if err != nil {
			t.Fatal(err)
		}
		for j, root := range roots {
			pool := x509.NewCertPool()
			pool.AddCert(root)
			_, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: host})
			if (err == nil) != (i == j) {
				t.Errorf("%s under root %d: %v", host, j+1, err)
			}
		}
		if since, ok := a.Since(host); !ok || time.Since(since) > time.Hour || time.Since(since) < -time.Minute {
			t.Errorf("%s since %v, %v", host, since, ok)
		}
	}
	if _, ok := a.Since("other.example.com"); ok || a.Permits("other.example.com") {
		t.Error("a host is permitted by no root")
	}
	if _, err := a.Leaf("other.example.com"); !errors.Is(err, ErrNotPermitted) {
		t.Error(err)
	}
	for _, name := range []string{"ca-2-key.pem", "ca-3-key.pem"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}

	b := Bundle{Dir: dir, SystemRoots: func() ([]byte, error) { return first, nil }}
	if _, err := b.Write(); err != nil {
		t.Fatal(err)
	}
	bundle, err := os.ReadFile(filepath.Join(dir, BundleFile))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(bundle)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"api.example.com", "third.example.net"} {
		cert, err := a.Leaf(host)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: host}); err != nil {
			t.Errorf("%s by the bundle: %v", host, err)
		}
	}
}

// TestExtendStrict: OpenSSL accepts a leaf of the second root, also while both
// roots are trusted.
func TestExtendStrict(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	if err := Create(dir, []string{"api.example.com"}); err != nil {
		t.Fatal(err)
	}
	if _, err := Extend(dir, []string{"llm.example.org"}); err != nil {
		t.Fatal(err)
	}
	a, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := a.Leaf("llm.example.org")
	if err != nil {
		t.Fatal(err)
	}
	openssl, err := exec.LookPath("openssl")
	if err != nil { // then Go's verifier has to do, as in TestExtend
		t.Log(err)
		return
	}
	trust, leaf := filepath.Join(dir, "both.pem"), filepath.Join(dir, "leaf.pem")
	if err := errors.Join(os.WriteFile(trust, pemOf(a.Certificates()...), 0o600), os.WriteFile(leaf, pemOf(cert.Leaf), 0o600)); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), openssl, "verify", "-x509_strict", "-purpose", "sslserver",
		"-verify_hostname", "llm.example.org", "-CAfile", trust, leaf).CombinedOutput()
	if err != nil {
		t.Errorf("openssl verify: %v\n%s", err, out)
	}
}

// TestExtendRefuses: what is wrong with any root's key is an error, and half
// of an Extend is finished by the next.
func TestExtendRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	if _, err := Extend(dir, []string{"a.example.com"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a first root: %v", err)
	}
	if err := Create(dir, []string{"api.example.com"}); err != nil {
		t.Fatal(err)
	}
	if _, err := Extend(dir, nil); err == nil {
		t.Error("without hosts")
	}
	if _, err := makeKey(filepath.Join(dir, "ca-2-key.pem")); err != nil { // a crash came then
		t.Fatal(err)
	}
	if added, err := Extend(dir, []string{"llm.example.org"}); !added || err != nil {
		t.Fatal(added, err)
	}
	if err := os.Chmod(filepath.Join(dir, "ca-2-key.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); !errors.Is(err, ErrKeyExposed) {
		t.Errorf("an exposed second key: %v", err)
	}
}
