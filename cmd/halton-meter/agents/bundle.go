package agents

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/internal/atomicfile"
	"github.com/haltonlabs/halton-meter/internal/reserved"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
	"github.com/haltonlabs/halton-meter/meter/ca"
)

// BundleVariables tell programs which roots to trust. All of them replace the
// program's own set but NODE_EXTRA_CA_CERTS, so all get the whole bundle.
var BundleVariables = []string{
	"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
	"CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "AWS_CA_BUNDLE",
}

// EnsureBundle brings the trust bundle up to date: the system's roots, those
// of the configuration's ca_file, those that the environment's variables name
// now or named before (a company's, which our own variables would hide), and
// ours.
func EnsureBundle(p Paths, c config.Config, getenv func(string) string) error {
	if err := adopt(p, getenv); err != nil {
		return err
	}
	// In mode full the keychain must trust another root first. Only init can
	// have the user asked for that.
	if p.Mode() != ModeFull {
		if err := extendAuthority(p, c); err != nil {
			return err
		}
	}
	_, err := TrustBundle(p, c).Write()
	return err
}

// TrustBundle is the bundle as it has to be now.
func TrustBundle(p Paths, c config.Config) ca.Bundle {
	b := ca.Bundle{Dir: p.CA()}
	if c.Upstream.CAFile != "" {
		b.Extra = append(b.Extra, c.Upstream.CAFile)
	}
	if _, err := os.Stat(p.AdoptedRoots()); err == nil {
		b.Extra = append(b.Extra, p.AdoptedRoots())
	}
	return b
}

// extendAuthority adds a root for the hosts that the configuration or a new
// release has added. The daemon that runs now goes on without it.
func extendAuthority(p Paths, c config.Config) error {
	table, err := c.Table()
	if err != nil {
		return err
	}
	_, err = ca.Extend(p.CA(), append(table.Hosts(), reserved.Metered))
	return err
}

// adopt adds to adopted.pem what the variables name and the bundle lacks. It
// only grows: two programs that run at once may need different roots.
func adopt(p Paths, getenv func(string) string) error {
	adopted, err := smallfile.Read(p.AdoptedRoots(), smallfile.Max)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	bundle, err := smallfile.Read(p.Bundle(), smallfile.Max)
	if err != nil {
		// No bundle yet: what the system has too is adopted with the rest,
		// and WriteBundle drops what comes twice.
		bundle = nil
	}
	known := map[string]bool{}
	for _, have := range [][]byte{adopted, bundle} {
		for der := range certificates(have) {
			known[string(der)] = true
		}
	}
	fresh := bytes.Clone(adopted)
	for _, name := range BundleVariables {
		file := getenv(name)
		if file == "" || file == p.Bundle() {
			continue
		}
		for der := range certificates(readRoots(file)) {
			if known[string(der)] {
				continue
			}
			known[string(der)] = true
			fresh = append(fresh, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
		}
	}
	if len(fresh) == len(adopted) {
		return nil
	}
	if err := MarkOutdated(p, Daemon); err != nil {
		return err
	}
	return atomicfile.Write(p.AdoptedRoots(), fresh, 0o644)
}

// maxRootFiles bounds a folder of roots; a system's own has some 150.
const maxRootFiles = 2000

// readRoots reads a file of roots, or a folder of such files, which requests
// takes too. What the user's own setting names and cannot be read has never
// helped a program.
func readRoots(path string) []byte {
	entries, err := os.ReadDir(path)
	if err != nil {
		data, _ := smallfile.Read(path, smallfile.Max)
		return data
	}
	var all []byte
	for _, e := range entries[:min(len(entries), maxRootFiles)] {
		data, err := smallfile.Read(filepath.Join(path, e.Name()), smallfile.Max)
		if err == nil && len(all)+len(data) <= smallfile.Max {
			all = append(append(all, data...), '\n')
		}
	}
	return all
}

// certificates yields the DER of each certificate in a PEM file.
func certificates(data []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for {
			var block *pem.Block
			if block, data = pem.Decode(data); block == nil {
				return
			}
			if block.Type == "CERTIFICATE" && !yield(block.Bytes) {
				return
			}
		}
	}
}
