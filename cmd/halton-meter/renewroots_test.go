package main

import (
	"crypto/sha1"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// In mode full the doctor's new root takes the place of the old one in the
// keychain too, and uninstall leaves none there.
func TestARenewedRootInTheKeychain(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	mac := m.withMac()
	m.must(0, "init", "--full")
	keychain := func() string {
		data, err := os.ReadFile(filepath.Join(mac, "keychain"))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(data))
	}
	before := keychain()
	m.expireRoot()
	// The keychain holds the one that has expired.
	m.write(filepath.Join(mac, "keychain"), m.sha1(filepath.Join(m.paths().CA(), "ca.pem"))+"\n")
	m.must(0, "doctor", "--fix", "--apply")
	switch now := keychain(); {
	case now == before, strings.Contains(now, "\n"), now != m.sha1(filepath.Join(m.paths().CA(), "ca.pem")):
		t.Errorf("the keychain holds %q", now)
	}
	m.must(0, uninstallAll...)
	if left := keychain(); left != "" {
		t.Errorf("uninstall left %q", left)
	}
}

// A root that is garbage keeps nobody from leaving.
func TestUninstallWithAGarbledRoot(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.withMac()
	m.must(0, "init", "--full")
	m.write(filepath.Join(m.paths().CA(), "ca.pem"), "garbage")
	m.must(0, uninstallAll...)
}

// sha1 is a certificate's name in a keychain.
func (m *machine) sha1(path string) string {
	m.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		m.Fatal(err)
	}
	block, _ := pem.Decode(data)
	return fmt.Sprintf("%X", sha1.Sum(block.Bytes))
}
