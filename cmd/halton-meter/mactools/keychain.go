package mactools

import (
	"context"
	"crypto/sha1" //nolint:gosec // the keychain names certificates by their SHA-1
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/haltonlabs/halton-meter/internal/smallfile"
)

// LoginKeychain is the user's own keychain: trust that is set there holds for
// this user alone and takes the user's password once.
func LoginKeychain(home string) string {
	return filepath.Join(home, "Library", "Keychains", "login.keychain-db")
}

// Trusted reports whether keychain holds the root in the PEM file and the
// system accepts it as an issuer of TLS certificates.
func (t Tools) Trusted(ctx context.Context, root, keychain string) (bool, error) {
	in, err := t.inKeychain(ctx, root, keychain)
	if err != nil || !in {
		return false, err
	}
	// -l: the certificate is a CA itself; -L: no network fetches.
	_, err = t.do(ctx, "security", "verify-cert", "-c", root, "-p", "ssl", "-l", "-L")
	if _, refused := errors.AsType[*Error](err); refused {
		return false, nil
	}
	return err == nil, err
}

func (t Tools) inKeychain(ctx context.Context, root, keychain string) (bool, error) {
	hash, err := fingerprint(root)
	if err != nil {
		return false, err
	}
	out, err := t.do(ctx, "security", "find-certificate", "-a", "-Z", keychain)
	if e, refused := errors.AsType[*Error](err); refused && strings.Contains(e.Text, "item could not be found") {
		return false, nil // errSecItemNotFound: it holds no certificate at all
	}
	if err != nil {
		return false, err
	}
	return strings.Contains(strings.ToUpper(out), "SHA-1 HASH: "+hash), nil
}

// Trust has the system accept root for TLS, and for nothing else. macOS asks
// for the user's password once.
func (t Tools) Trust(ctx context.Context, root, keychain string) error {
	_, err := t.do(ctx, "security", "add-trusted-cert", "-r", "trustRoot", "-p", "ssl", "-p", "basic", "-k", keychain, root)
	if err != nil {
		return fmt.Errorf("trust the certificate authority: %w", err)
	}
	return nil
}

// Untrust takes the trust in root back and removes it from keychain. A root
// that is not there is no error.
func (t Tools) Untrust(ctx context.Context, root, keychain string) error {
	in, err := t.inKeychain(ctx, root, keychain)
	if err == nil && in {
		var argv []string
		if argv, err = t.UntrustCommand(root, keychain); err == nil {
			_, err = t.do(ctx, "security", argv[1:]...)
		}
	}
	if err != nil {
		return fmt.Errorf("remove trust: %w", err)
	}
	return nil
}

// UntrustCommand is what Untrust runs, for a plan that somebody may type.
func (t Tools) UntrustCommand(root, keychain string) ([]string, error) {
	hash, err := fingerprint(root)
	if err != nil {
		return nil, err
	}
	// -t: with the user's trust settings for it.
	return []string{t.path("security"), "delete-certificate", "-Z", hash, "-t", keychain}, nil
}

// ErrNoCertificate means that a file holds none, and so none that is trusted.
var ErrNoCertificate = errors.New("no certificate in it")

// fingerprint is the SHA-1 of the certificate in a PEM file, as security
// prints it.
func fingerprint(path string) (string, error) {
	data, err := smallfile.Read(path, smallfile.Max)
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return "", fmt.Errorf("read %s: %w", path, ErrNoCertificate)
	}
	sum := sha1.Sum(block.Bytes) //nolint:gosec // see the import
	return strings.ToUpper(hex.EncodeToString(sum[:])), nil
}
