package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var testHosts = []string{"api.anthropic.com", "api.openai.com"}

func newAuthority(t *testing.T, hosts ...string) (*Authority, string) {
	t.Helper()
	if len(hosts) == 0 {
		hosts = testHosts
	}
	dir := filepath.Join(t.TempDir(), "ca")
	if err := Create(dir, hosts); err != nil {
		t.Fatal(err)
	}
	a, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return a, dir
}

func mustLeaf(t *testing.T, a *Authority, host string) *tls.Certificate {
	t.Helper()
	cert, err := a.Leaf(host)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func goVerify(a *Authority, leaf *x509.Certificate, name string) error {
	pool := x509.NewCertPool()
	pool.AddCert(a.root)
	_, err := leaf.Verify(x509.VerifyOptions{
		DNSName: name, Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

// opensslVerify asks OpenSSL, if it is installed, with the strictness of RFC
// 5280; without it, Go's verifier has to do.
func opensslVerify(t *testing.T, a *Authority, leaf *x509.Certificate, name string) error {
	t.Helper()
	program, err := exec.LookPath("openssl")
	if err != nil {
		return goVerify(a, leaf, name)
	}
	dir := t.TempDir()
	file := func(base string, cert *x509.Certificate) string {
		path := filepath.Join(dir, base)
		data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	kind := "-verify_hostname"
	if net.ParseIP(name) != nil {
		kind = "-verify_ip"
	}
	out, err := exec.Command(program, "verify", "-x509_strict", "-purpose", "sslserver", kind, name,
		"-CAfile", file("root.pem", a.root), file("leaf.pem", leaf)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func TestLeafVerifies(t *testing.T) {
	long := strings.Repeat("a", 60) + ".api.anthropic.com"
	a, _ := newAuthority(t)
	for _, host := range []string{"api.anthropic.com", "eu.api.anthropic.com", "api.openai.com", long} {
		leaf := mustLeaf(t, a, host).Leaf
		if err := goVerify(a, leaf, host); err != nil {
			t.Errorf("Go: %v", err)
		}
		if err := opensslVerify(t, a, leaf, host); err != nil {
			t.Errorf("OpenSSL: %v", err)
		}
		if err := goVerify(a, leaf, "api.mistral.ai"); err == nil {
			t.Errorf("leaf for %s verifies for another host", host)
		}
		if string(leaf.AuthorityKeyId) != string(a.root.SubjectKeyId) {
			t.Errorf("%s: AKI %x, root's SKI %x", host, leaf.AuthorityKeyId, a.root.SubjectKeyId)
		}
		if life := leaf.NotAfter.Sub(leaf.NotBefore); life > leafLife+backdate {
			t.Errorf("%s: lives %v", host, life)
		}
		if bits := leaf.SerialNumber.BitLen(); bits > 127 || bits < 64 {
			t.Errorf("%s: serial of %d bits", host, bits)
		}
		if leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature {
			t.Errorf("%s: IsCA %v, key usage %b", host, leaf.IsCA, leaf.KeyUsage)
		}
	}
}

// TestForgedLeaf plays a thief of the key: what is signed with it for any
// other name must not verify.
func TestForgedLeaf(t *testing.T) {
	a, _ := newAuthority(t)
	tests := []struct {
		name   string
		target string
		dns    []string
		ips    []net.IP
		ok     bool
	}{
		{name: "permitted", target: "api.openai.com", dns: []string{"api.openai.com"}, ok: true},
		{name: "another domain", target: "www.bank.example", dns: []string{"www.bank.example"}},
		{name: "parent domain", target: "openai.com", dns: []string{"openai.com"}},
		{name: "suffix without a dot", target: "evilapi.openai.com", dns: []string{"evilapi.openai.com"}},
		{name: "among permitted ones", target: "www.bank.example", dns: []string{"api.openai.com", "www.bank.example"}},
		{name: "IPv4", target: "127.0.0.1", ips: []net.IP{net.IPv4(127, 0, 0, 1)}},
		{name: "IPv6", target: "::1", ips: []net.IP{net.IPv6loopback}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			leaf := forge(t, a, &x509.Certificate{DNSNames: tt.dns, IPAddresses: tt.ips})
			if err := goVerify(a, leaf, tt.target); (err == nil) != tt.ok {
				t.Errorf("Go: %v", err)
			}
			if err := opensslVerify(t, a, leaf, tt.target); (err == nil) != tt.ok {
				t.Errorf("OpenSSL: %v", err)
			}
		})
	}
}

func TestNoAuthorityBelow(t *testing.T) {
	a, _ := newAuthority(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "below"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	middle := sign(t, template, a.root, key, a.key)
	leaf := sign(t, &x509.Certificate{DNSNames: []string{"api.openai.com"}}, middle, key, key)
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(a.root)
	between.AddCert(middle)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between}); err == nil {
		t.Error("a leaf of an intermediate authority verifies")
	}
}

func forge(t *testing.T, a *Authority, template *x509.Certificate) *x509.Certificate {
	t.Helper()
	template.Subject.CommonName = "forged"
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	return sign(t, template, a.root, a.key, a.key)
}

func sign(t *testing.T, template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	number, err := serial()
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = number
	template.NotBefore = time.Now().Add(-time.Minute)
	template.NotAfter = time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestPermits(t *testing.T) {
	a, _ := newAuthority(t, "API.Anthropic.com", "api.openai.com.", "api.openai.com")
	if got := a.root.PermittedDNSDomains; len(got) != 2 {
		t.Errorf("permitted domains: %q", got)
	}
	for host, want := range map[string]bool{
		"api.anthropic.com":     true,
		"Api.Anthropic.COM":     true,
		"api.anthropic.com.":    true,
		"eu.api.anthropic.com":  true,
		"anthropic.com":         false,
		"xapi.anthropic.com":    false,
		".api.anthropic.com":    false,
		"*.api.anthropic.com":   false,
		"api.anthropic.com..":   false,
		"api.anthropic.com:443": false,
		"a b.api.anthropic.com": false,
		"-a.api.anthropic.com":  false,
		"127.0.0.1":             false,
		"::1":                   false,
		"":                      false,
		".":                     false,
		strings.Repeat("a", 64) + ".api.openai.com":  false,
		strings.Repeat("a.", 130) + "api.openai.com": false,
	} {
		if got := a.Permits(host); got != want {
			t.Errorf("Permits(%q) = %v", host, got)
		}
		_, err := a.Leaf(host)
		if (err == nil) != want {
			t.Errorf("Leaf(%q): %v", host, err)
		}
	}
	if _, err := a.Leaf("www.bank.example"); !errors.Is(err, ErrNotPermitted) {
		t.Errorf("error for a host that is not permitted: %v", err)
	}
}

func TestLeafIsMintedOnce(t *testing.T) {
	a, _ := newAuthority(t)
	certs := make([]*tls.Certificate, 32)
	var wg sync.WaitGroup
	for i := range certs {
		wg.Go(func() {
			host := testHosts[i%2]
			if i%4 > 1 {
				host = strings.ToUpper(host) + "."
			}
			cert, err := a.Leaf(host)
			if err != nil {
				t.Error(err)
			}
			certs[i] = cert
		})
	}
	wg.Wait()
	for i, cert := range certs {
		if cert != certs[i%2] {
			t.Fatalf("call %d got a certificate of its own", i)
		}
	}
	if certs[0].PrivateKey.(*ecdsa.PrivateKey).Equal(certs[1].PrivateKey) {
		t.Error("two hosts share a key")
	}
}

func TestLeafIsRenewedAtHalfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := newAuthority(t)
		first := mustLeaf(t, a, "api.openai.com")
		time.Sleep(leafLife/2 - 1)
		if mustLeaf(t, a, "api.openai.com") != first {
			t.Error("minted again before half of its life")
		}
		time.Sleep(1)
		second := mustLeaf(t, a, "api.openai.com")
		if second == first {
			t.Error("not minted again at half of its life")
		}
		if err := goVerify(a, second.Leaf, "api.openai.com"); err != nil {
			t.Error(err)
		}
	})
}

func TestLeafCacheIsBounded(t *testing.T) {
	a, _ := newAuthority(t)
	for i := range cacheSize + 10 {
		mustLeaf(t, a, fmt.Sprintf("h%d.api.openai.com", i))
	}
	if n := len(a.leaves); n != cacheSize {
		t.Errorf("%d leaves in the cache, want %d", n, cacheSize)
	}
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, dir := newAuthority(t)
		if got := a.NotBefore(); !got.Equal(time.Now()) {
			t.Errorf("NotBefore = %v, created at %v", got, time.Now())
		}
		time.Sleep(rootLife - 24*time.Hour)
		last := mustLeaf(t, a, "api.openai.com")
		if last.Leaf.NotAfter.After(a.root.NotAfter) {
			t.Error("the leaf outlives its root")
		}
		time.Sleep(24*time.Hour + time.Second)
		if _, err := a.Leaf("api.anthropic.com"); !errors.Is(err, ErrExpired) {
			t.Errorf("Leaf under an expired root: %v", err)
		}
		if _, err := Load(dir); !errors.Is(err, ErrExpired) {
			t.Errorf("Load of an expired root: %v", err)
		}
	})
}

func TestCommonName(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)
	for machine, want := range map[string]string{
		"laptop.local":           "Halton Meter CA, laptop, 2026-11-23 09:30:00",
		"":                       "Halton Meter CA, localhost, 2026-11-23 09:30:00",
		strings.Repeat("é", 100): "Halton Meter CA, " + strings.Repeat("é", 24) + ", 2026-11-23 09:30:00",
		"bad\xff":                "Halton Meter CA, bad, 2026-11-23 09:30:00",
	} {
		got := commonName(machine, now)
		if got != want {
			t.Errorf("commonName(%q) = %q", machine, got)
		}
		if n := len([]rune(got)); n > 64 {
			t.Errorf("commonName(%q) has %d characters", machine, n)
		}
	}
}
