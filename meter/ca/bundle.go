package ca

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/haltonlabs/halton-meter/internal/atomicfile"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
)

// WriteBundle writes the bundle of dir with the roots of this machine's
// operating system; see Bundle.
func WriteBundle(dir string, extra []string) (changed bool, err error) {
	return Bundle{Dir: dir, Extra: extra}.Write()
}

// A Bundle is the file that SSL_CERT_FILE and its kin can name: such a
// variable replaces a client's roots, so the file holds those of the
// operating system, then those that the user had set up before, then ours. A
// file with our root alone would break every other host.
type Bundle struct {
	// Dir is the authority's directory: the roots are read and bundle.pem is
	// written there.
	Dir string
	// Extra names PEM files whose certificates go into the bundle: what the
	// user's SSL_CERT_FILE named before, or a company's root. The environment
	// is never asked, since the variable may name this very bundle.
	Extra []string
	// SystemRoots returns the PEM certificates of the operating system. Nil
	// means the file or directory that Go's crypto/x509 would use on Linux,
	// and on macOS the system's keychains.
	SystemRoots func() ([]byte, error)
}

// Write writes the bundle atomically, and only if its content changes. A file
// of Extra that is missing or holds no certificate is an error that names it,
// as is an operating system without roots; the old bundle then stays.
func (b Bundle) Write() (changed bool, err error) {
	path := filepath.Join(b.Dir, BundleFile)
	content, err := b.content()
	if err != nil {
		return false, fmt.Errorf("write bundle %s: %w", path, err)
	}
	if old, err := smallfile.Read(path, smallfile.Max); err == nil && bytes.Equal(old, content) {
		return false, nil
	}
	if err := atomicfile.Write(path, content, 0o644); err != nil {
		return false, fmt.Errorf("write bundle: %w", err)
	}
	return true, nil
}

// Stale reports whether Write would change the file.
func (b Bundle) Stale() (bool, error) {
	content, err := b.content()
	if err != nil {
		return false, fmt.Errorf("make bundle: %w", err)
	}
	old, err := smallfile.Read(filepath.Join(b.Dir, BundleFile), smallfile.Max)
	return err != nil || !bytes.Equal(old, content), nil
}

func (b Bundle) content() ([]byte, error) {
	readSystem := b.SystemRoots
	if readSystem == nil {
		readSystem = systemRoots
	}
	system, err := readSystem()
	if err != nil {
		return nil, fmt.Errorf("read the roots of the operating system: %w", err)
	}
	var c collection
	if err := c.add(system); err != nil {
		return nil, fmt.Errorf("read the roots of the operating system: %w", err)
	}
	for _, name := range b.Extra {
		data, err := smallfile.Read(name, smallfile.Max)
		if err != nil {
			return nil, fmt.Errorf("read extra roots: %w", err)
		}
		if err := c.add(data); err != nil {
			return nil, fmt.Errorf("read extra roots: %s: %w", name, err)
		}
	}
	for n := 1; n <= maxRoots; n++ {
		path, _ := paths(b.Dir, n)
		ours, err := readRoot(path)
		if n > 1 && errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, err
		}
		c.addDER(ours.Raw)
	}
	return c.out.Bytes(), nil
}

// collection gathers distinct certificates in the order of their arrival.
type collection struct {
	out  bytes.Buffer
	seen map[[sha256.Size]byte]bool
}

// add takes the certificates of a PEM file; there must be at least one. Other
// blocks and the comments around them are left out.
func (c *collection) add(data []byte) error {
	found := false
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if err := checkDER(block.Bytes); err != nil {
			return err
		}
		found = true
		c.addDER(block.Bytes)
	}
	if !found {
		return errors.New("no PEM certificate in it")
	}
	return nil
}

// checkDER accepts what Go's parser refuses but other verifiers trust (roots
// with negative serial numbers are still in use), as long as it is one whole
// DER sequence.
func checkDER(der []byte) error {
	_, err := x509.ParseCertificate(der)
	if err == nil {
		return nil
	}
	var outer struct{ TBS, Algorithm, Signature asn1.RawValue }
	if rest, e := asn1.Unmarshal(der, &outer); e != nil || len(rest) > 0 {
		return fmt.Errorf("damaged certificate: %w", err)
	}
	return nil
}

func (c *collection) addDER(der []byte) {
	sum := sha256.Sum256(der)
	if c.seen[sum] {
		return
	}
	if c.seen == nil {
		c.seen = make(map[[sha256.Size]byte]bool)
	}
	c.seen[sum] = true
	pem.Encode(&c.out, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a bytes.Buffer does not fail
}
