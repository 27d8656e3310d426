package ca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/haltonlabs/halton-meter/internal/smallfile"
)

// The files in the directory of an authority.
const (
	CertFile   = "ca.pem"
	KeyFile    = "ca-key.pem"
	BundleFile = "bundle.pem"
)

var (
	// ErrExists means that the directory holds an authority already. Clients
	// trust it, so Create does not replace it.
	ErrExists = errors.New("the authority exists already")
	// ErrExpired means that the root's time is over.
	ErrExpired = errors.New("expired")
	// ErrKeyExposed means that the key's file is not private to its owner.
	ErrKeyExposed = errors.New("the key is not private")
)

// maxFile bounds what is read of a file: a root or a key has about 1 KB.
const maxFile = 64 << 10

// maxRoots bounds how often an authority can be extended: each root makes
// every bundle longer, and has a key that must be kept.
const maxRoots = 32

// paths are the files of the nth root, counted from 1.
func paths(dir string, n int) (cert, key string) {
	if n == 1 {
		return filepath.Join(dir, CertFile), filepath.Join(dir, KeyFile)
	}
	return filepath.Join(dir, fmt.Sprintf("ca-%d.pem", n)), filepath.Join(dir, fmt.Sprintf("ca-%d-key.pem", n))
}

// RootFiles are the PEM files of the roots in dir: that of Create, and those
// that Extend has added. Nothing in them is checked. There may be none.
func RootFiles(dir string) []string {
	var files []string
	for n := 1; n <= maxRoots; n++ {
		cert, _ := paths(dir, n)
		if _, err := os.Lstat(cert); err != nil {
			break
		}
		files = append(files, cert)
	}
	return files
}

// Create makes an authority for hosts in dir: the root in ca.pem, readable by
// all, and its key in ca-key.pem, readable by the owner only. It creates dir
// if need be and makes it private (0700). A directory that holds a root gives
// ErrExists. After a crash in the middle it can be called again.
func Create(dir string, hosts []string) error {
	if err := create(dir, hosts); err != nil {
		return fmt.Errorf("create authority in %s: %w", dir, err)
	}
	return nil
}

func create(dir string, hosts []string) error {
	names, err := normalAll(hosts)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	certPath, keyPath := paths(dir, 1)
	if _, err := os.Lstat(certPath); err == nil {
		return fmt.Errorf("%w: remove %s and %s to start anew; programs must then trust the new root", ErrExists, certPath, keyPath)
	}
	return createRoot(dir, 1, names)
}

// Extend makes another root, beside those in dir, for the hosts that none of
// them permits, and reports whether there were any. The roots that are there
// stay as they are. The bundle has to be written again, and an Authority that
// was loaded before does not know the new root. After a crash in the middle it
// can be called again.
func Extend(dir string, hosts []string) (added bool, err error) {
	if added, err = extend(dir, hosts); err != nil {
		return false, fmt.Errorf("extend authority in %s: %w", dir, err)
	}
	return added, nil
}

func extend(dir string, hosts []string) (added bool, err error) {
	a, err := load(dir)
	if err != nil {
		return false, err
	}
	names, err := normalAll(hosts)
	if err != nil {
		return false, err
	}
	names = slices.DeleteFunc(names, a.Permits)
	if len(names) == 0 {
		return false, nil
	}
	n := len(a.more) + 2
	if n > maxRoots {
		return false, fmt.Errorf("there are %d roots already: remove %s and what begins with ca- to start anew", maxRoots, filepath.Join(dir, CertFile))
	}
	return true, createRoot(dir, n, names)
}

// normalAll returns the hosts in their normal form, sorted, each once.
func normalAll(hosts []string) ([]string, error) {
	if len(hosts) == 0 {
		return nil, errors.New("no hosts: a root without name constraints could vouch for every site")
	}
	var names []string
	for _, host := range hosts {
		name, err := normal(host)
		if err != nil {
			return nil, fmt.Errorf("host %q: %w", host, err)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// createRoot writes the nth root and its key.
func createRoot(dir string, n int, names []string) error {
	certPath, keyPath := paths(dir, n)
	key, err := makeKey(keyPath)
	if err != nil {
		return err
	}
	machine, err := os.Hostname()
	if err != nil {
		machine = ""
	}
	template, err := rootTemplate(names, machine, time.Now())
	if err != nil {
		return err
	}
	if n > 1 {
		// Two roots may be made within a second, and must not share a name.
		template.Subject.CommonName += fmt.Sprintf(" (%d)", n)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	err = writeNew(certPath, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: another process made it just now", ErrExists)
	}
	return err
}

// makeKey writes a new key, or takes the one of a call that did not get as far
// as the certificate: nobody trusts it yet, and nothing is overwritten.
func makeKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	err = writeNew(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
	if errors.Is(err, fs.ErrExist) {
		return readKey(path)
	}
	return key, err
}

// writeNew creates the file at path whole, or fails with fs.ErrExist. The
// data has its final permissions and is on the disk before it has the name:
// link(2), unlike rename(2), never replaces.
func writeNew(path string, data []byte, perm fs.FileMode) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // O_EXCL, 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if err := tmp.Chmod(perm); err != nil {
		return err
	}
	if _, err := tmp.Write(data); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// replacedMark lies in the directory of an authority that replaced another.
const replacedMark = "replaced"

// MarkReplaced notes in dir that its authority takes the place of one that was
// lost or had expired; see [Authority.Replaced].
func MarkReplaced(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, replacedMark), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("mark authority as replaced: %w", err)
	}
	return f.Close()
}

// Load reads the authority that Create made in dir, with the roots that Extend
// has added. It refuses a key that
// somebody else may have read or replaced (ErrKeyExposed), a root whose time
// is over (ErrExpired), and a key that is not the root's. The error is
// fs.ErrNotExist if there is none.
func Load(dir string) (*Authority, error) {
	a, err := load(dir)
	if err != nil {
		return nil, fmt.Errorf("load authority: %w", err)
	}
	return a, nil
}

func load(dir string) (*Authority, error) {
	first, err := loadRoot(dir, 1)
	if err != nil {
		return nil, err
	}
	a := &Authority{signer: first}
	if _, err := os.Lstat(filepath.Join(dir, replacedMark)); err == nil {
		a.replaced = true
	}
	for n := 2; n <= maxRoots; n++ {
		certPath, _ := paths(dir, n)
		if _, err := os.Lstat(certPath); errors.Is(err, fs.ErrNotExist) {
			break
		}
		another, err := loadRoot(dir, n)
		if err != nil {
			return nil, err
		}
		a.more = append(a.more, another)
	}
	return a, nil
}

// loadRoot reads the nth root and its key.
func loadRoot(dir string, n int) (signer, error) {
	certPath, keyPath := paths(dir, n)
	root, err := readRoot(certPath)
	if err != nil {
		return signer{}, err
	}
	key, err := readKey(keyPath)
	if err != nil {
		return signer{}, err
	}
	switch {
	case !root.IsCA || len(root.PermittedDNSDomains) == 0:
		return signer{}, fmt.Errorf("%s is not a root with name constraints: remove it and %s, and create the authority again", certPath, keyPath)
	case !key.PublicKey.Equal(root.PublicKey):
		return signer{}, fmt.Errorf("%s is not the key of %s: remove both, and create the authority again", keyPath, certPath)
	}
	if err := valid(root, time.Now()); err != nil {
		return signer{}, fmt.Errorf("%s: %w: remove it and %s, and create the authority again", certPath, err, keyPath)
	}
	return signer{root, key}, nil
}

func readRoot(path string) (*x509.Certificate, error) {
	data, err := smallfile.Read(path, maxFile)
	if err != nil {
		return nil, err
	}
	der, err := readPEM(bytes.NewReader(data), "CERTIFICATE")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return root, nil
}

// readKey checks the open file, not its name, so that nobody can swap it in
// between; O_NOFOLLOW refuses a symbolic link, and O_NONBLOCK a hanging FIFO.
func readKey(path string) (*ecdsa.PrivateKey, error) {
	dir := filepath.Dir(path)
	if st, err := os.Stat(dir); err != nil {
		return nil, err
	} else if mode := st.Mode().Perm(); mode&0o022 != 0 {
		return nil, fmt.Errorf("%w: others can change its directory (mode %04o): run chmod 700 '%s'", ErrKeyExposed, mode, dir)
	}
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%w: %s is a symbolic link: put the file itself there", ErrKeyExposed, path)
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return nil, err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	switch mode := st.Mode(); {
	case !mode.IsRegular():
		return nil, fmt.Errorf("%w: %s is not a regular file: remove it", ErrKeyExposed, path)
	case !ok || int(sys.Uid) != os.Geteuid():
		return nil, fmt.Errorf("%w: %s belongs to another user: run chown %d '%s'", ErrKeyExposed, path, os.Geteuid(), path)
	case mode.Perm()&0o077 != 0:
		return nil, fmt.Errorf("%w: others may read %s (mode %04o): run chmod 600 '%s'; if others use this machine, create the authority again",
			ErrKeyExposed, path, mode.Perm(), path)
	}
	der, err := readPEM(file, "PRIVATE KEY")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		// The parser's message may quote what it read.
		return nil, fmt.Errorf("%s: not a private key: remove it, and create the authority again", path)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: not an ECDSA key: remove it, and create the authority again", path)
	}
	return key, nil
}

// readPEM returns the content of the first PEM block, which must be a kind.
func readPEM(r io.Reader, kind string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("no PEM block of type %s: remove it, and create the authority again", kind)
	}
	return block.Bytes, nil
}
