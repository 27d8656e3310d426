package ca

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/haltonlabs/halton-meter/internal/smallfile"
)

// Where Linux distributions and BSDs keep their roots: the list of Go's
// crypto/x509 (root_linux.go).
var (
	rootFiles = []string{
		"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Gentoo, Arch
		"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora
		"/etc/ssl/ca-bundle.pem",                            // openSUSE
		"/etc/pki/tls/cacert.pem",                           // OpenELEC
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL
		"/etc/ssl/cert.pem",                                 // Alpine; macOS, for its own curl
	}
	rootDirs = []string{"/etc/ssl/certs", "/etc/pki/tls/certs"}
)

// Apple's roots, and what an administrator added, such as a company's root.
const (
	appleKeychain = "/System/Library/Keychains/SystemRootCertificates.keychain"
	adminKeychain = "/Library/Keychains/System.keychain"
)

func systemRoots() ([]byte, error) {
	if runtime.GOOS == "darwin" {
		if roots := keychainRoots(findCertificates); roots != nil {
			return roots, nil
		}
	}
	return fileRoots(rootFiles, rootDirs)
}

// findCertificates prints the certificates of a keychain; security(1).
func findCertificates(keychain string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return exec.CommandContext(ctx, "/usr/bin/security", "find-certificate", "-a", "-p", keychain).Output()
}

// keychainRoots returns the roots of the system's keychains, nil without
// Apple's: a bundle of a company's root alone would break every other host.
func keychainRoots(find func(keychain string) ([]byte, error)) []byte {
	roots, err := find(appleKeychain)
	if err != nil || len(roots) == 0 {
		return nil
	}
	admin, err := find(adminKeychain)
	if err != nil {
		return roots
	}
	return append(roots, authorities(admin)...)
}

// authorities leaves out what is not an authority: the administrator's
// keychain also holds the machine's own identities.
func authorities(data []byte) []byte {
	var c collection
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return c.out.Bytes()
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && cert.IsCA {
			c.addDER(cert.Raw)
		}
	}
}

// fileRoots returns the first file that has certificates, else everything in
// the directories that is one.
func fileRoots(files, dirs []string) ([]byte, error) {
	for _, name := range files {
		if roots := certificates(name); roots != nil {
			return roots, nil
		}
	}
	var all []byte
	for _, dir := range dirs {
		names, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			all = append(all, certificates(name)...)
		}
	}
	if all == nil {
		return nil, errors.New("none found: install the package ca-certificates")
	}
	return all, nil
}

// certificates returns those in the named file, nil if there are none or it
// cannot be read: dangling links are common in these directories.
func certificates(name string) []byte {
	data, err := smallfile.Read(name, smallfile.Max)
	if err != nil {
		return nil
	}
	var c collection
	if c.add(data) != nil {
		return nil
	}
	return c.out.Bytes()
}
