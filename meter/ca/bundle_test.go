package ca

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func pemOf(certs ...*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, cert := range certs {
		pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	}
	return out.Bytes()
}

func subjects(t *testing.T, bundle string) []string {
	t.Helper()
	var names []string
	for data := []byte(bundle); ; {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return names
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		must(t, err)
		names = append(names, cert.Subject.CommonName)
	}
}

// roots returns self-standing certificates with the given names.
func roots(t *testing.T, names ...string) []*x509.Certificate {
	t.Helper()
	signer, _ := newAuthority(t)
	var certs []*x509.Certificate
	for _, name := range names {
		template := &x509.Certificate{IsCA: true, BasicConstraintsValid: true}
		template.Subject.CommonName = name
		certs = append(certs, sign(t, template, signer.root, signer.key, signer.key))
	}
	return certs
}

func TestWriteBundle(t *testing.T) {
	a, dir := newAuthority(t)
	r := roots(t, "system 1", "system 2", "company")
	extra := filepath.Join(t.TempDir(), "company.pem")
	must(t, os.WriteFile(extra, slices.Concat([]byte("# our company\n"), pemOf(r[2], r[0]), []byte("trailing text")), 0o600))
	bundle := Bundle{
		Dir:         dir,
		Extra:       []string{extra},
		SystemRoots: func() ([]byte, error) { return pemOf(r[0], r[1], r[1]), nil },
	}
	changed, err := bundle.Write()
	if err != nil || !changed {
		t.Fatalf("first Write = %v, %v", changed, err)
	}
	path := filepath.Join(dir, BundleFile)
	want := []string{"system 1", "system 2", "company", a.root.Subject.CommonName}
	if got := subjects(t, read(t, path)); !slices.Equal(got, want) {
		t.Errorf("bundle has %q, want %q", got, want)
	}
	before, err := os.Stat(path)
	must(t, err)
	if before.Mode().Perm() != 0o644 {
		t.Errorf("mode %04o", before.Mode().Perm())
	}

	changed, err = bundle.Write()
	if err != nil || changed {
		t.Errorf("second Write = %v, %v", changed, err)
	}
	after, err := os.Stat(path)
	must(t, err)
	if !os.SameFile(before, after) {
		t.Error("the file was replaced without need")
	}

	if stale, err := bundle.Stale(); err != nil || stale {
		t.Errorf("Stale after Write = %v, %v", stale, err)
	}
	bundle.Extra = nil
	if stale, err := bundle.Stale(); err != nil || !stale {
		t.Errorf("Stale without the extra roots = %v, %v", stale, err)
	}
	if changed, err = bundle.Write(); err != nil || !changed {
		t.Errorf("Write without the extra roots = %v, %v", changed, err)
	}
}

// TestWriteBundleOfThisMachine reads the roots that this system really has.
func TestWriteBundleOfThisMachine(t *testing.T) {
	t.Setenv("SSL_CERT_FILE", "/nonexistent") // must not matter
	_, dir := newAuthority(t)
	if _, err := WriteBundle(dir, nil); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(read(t, filepath.Join(dir, BundleFile)))) {
		t.Fatal("no certificate in the bundle")
	}
	if n := len(subjects(t, read(t, filepath.Join(dir, BundleFile)))); n < 10 {
		t.Errorf("%s: only %d roots", runtime.GOOS, n)
	}
}

func TestWriteBundleRefuses(t *testing.T) {
	r := roots(t, "system")
	system := func() ([]byte, error) { return pemOf(r...), nil }
	damaged := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r[0].Raw[:100]})
	tests := []struct {
		name   string
		extra  string // content of the extra file
		system func() ([]byte, error)
		says   string
	}{
		{"not PEM", "hello", system, "extra.pem: no PEM certificate"},
		{"only a key", "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n", system, "extra.pem: no PEM certificate"},
		{"cut certificate", string(damaged), system, "extra.pem: damaged certificate"},
		{"no system roots", string(pemOf(r...)), func() ([]byte, error) { return nil, nil }, "operating system: no PEM certificate"},
		{"system roots fail", string(pemOf(r...)), func() ([]byte, error) { return nil, fs.ErrPermission }, "operating system: permission denied"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, dir := newAuthority(t)
			extra := filepath.Join(t.TempDir(), "extra.pem")
			must(t, os.WriteFile(extra, []byte(tt.extra), 0o600))
			old := filepath.Join(dir, BundleFile)
			must(t, os.WriteFile(old, []byte("old"), 0o600))
			_, err := Bundle{Dir: dir, Extra: []string{extra}, SystemRoots: tt.system}.Write()
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error does not say %q: %v", tt.says, err)
			}
			if read(t, old) != "old" {
				t.Error("the old bundle is gone")
			}
		})
	}
	_, dir := newAuthority(t)
	_, err := Bundle{Dir: dir, Extra: []string{"/nonexistent/x.pem"}, SystemRoots: system}.Write()
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "/nonexistent/x.pem") {
		t.Errorf("missing extra file: %v", err)
	}
}

// TestBundleKeepsWhatGoCannotParse: Go refuses negative serial numbers, which
// roots that other verifiers trust still have.
func TestBundleKeepsWhatGoCannotParse(t *testing.T) {
	der := bytes.Clone(roots(t, "old root")[0].Raw)
	// SEQUENCE { SEQUENCE { [0] version, INTEGER serial …: set its sign bit.
	at := bytes.Index(der, []byte{0xa0, 0x03, 0x02, 0x01, 0x02, 0x02}) + 7
	der[at] |= 0x80
	if _, err := x509.ParseCertificate(der); err == nil {
		t.Fatal("Go parses it: the test proves nothing")
	}
	var c collection
	if err := c.add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
		t.Error(err)
	}
	if block, _ := pem.Decode(c.out.Bytes()); block == nil || !bytes.Equal(block.Bytes, der) {
		t.Error("it did not get into the bundle")
	}
}

func TestFileRoots(t *testing.T) {
	r := roots(t, "a", "b", "c")
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "roots.crt")
	must(t, os.WriteFile(filepath.Join(dir, "1.pem"), pemOf(r[0]), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "2.0"), pemOf(r[1]), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "README"), []byte("none here"), 0o600))
	must(t, os.Symlink("/nonexistent", filepath.Join(dir, "dangling.pem")))
	must(t, os.WriteFile(file, pemOf(r[2]), 0o600))
	empty := filepath.Join(dir, "README")

	tests := []struct {
		name  string
		files []string
		dirs  []string
		want  []string
	}{
		{"first file", []string{"/nonexistent", empty, file}, []string{dir}, []string{"c"}},
		{"directory", []string{"/nonexistent"}, []string{"/nonexistent", dir}, []string{"a", "b"}},
		{"nothing", nil, []string{t.TempDir()}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data, err := fileRoots(tt.files, tt.dirs)
			if (err == nil) != (tt.want != nil) {
				t.Errorf("error: %v", err)
			}
			if got := subjects(t, string(data)); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestKeychainRoots(t *testing.T) {
	r := roots(t, "apple", "company")
	a, _ := newAuthority(t)
	identity := mustLeaf(t, a, "api.openai.com").Leaf
	answers := map[string][]byte{
		appleKeychain: pemOf(r[0]),
		adminKeychain: pemOf(identity, r[1]),
	}
	find := func(keychain string) ([]byte, error) {
		data, ok := answers[keychain]
		if !ok {
			return nil, errors.New("exit status 1")
		}
		return data, nil
	}
	if got := subjects(t, string(keychainRoots(find))); !slices.Equal(got, []string{"apple", "company"}) {
		t.Errorf("both keychains: %q", got)
	}
	delete(answers, adminKeychain)
	if got := subjects(t, string(keychainRoots(find))); !slices.Equal(got, []string{"apple"}) {
		t.Errorf("without the administrator's: %q", got)
	}
	delete(answers, appleKeychain)
	answers[adminKeychain] = pemOf(r[1])
	if got := keychainRoots(find); got != nil {
		t.Errorf("without Apple's: %q", got)
	}
}
