// Package ca is a certificate authority for one machine and a few host names:
// it makes the root, mints short-lived leaves under it for a TLS-intercepting
// proxy, and writes the bundle that makes clients trust both it and everybody
// that they trusted before.
//
//	err := ca.Create(dir, []string{"api.anthropic.com"}) // once
//	authority, err := ca.Load(dir)                       // at each start
//	cert, err := authority.Leaf("api.anthropic.com")     // at each handshake
//	changed, err := ca.WriteBundle(dir, nil)             // for SSL_CERT_FILE
//
// # What a stolen key can do
//
// As little as a root allows. Its name constraints (RFC 5280, section
// 4.2.1.10) permit the given hosts and what is below them, and no IP address
// at all; Go, OpenSSL, Node, Python and Chrome refuse a leaf for any other
// name. It can sign no further authority, and the key never leaves its file,
// which Load refuses if anybody but its owner can read it.
//
// # Ownership
//
// The caller owns the directory, which holds ca.pem, ca-key.pem, the roots that
// Extend has added (ca-2.pem, ca-2-key.pem and so on) and bundle.pem. An Authority keeps no file open, starts no goroutine and needs
// no closing. Several processes may load the same directory.
//
// # What it does not do
//
// It installs no trust anywhere: no keychain, no NSS database. It does not
// widen a root: a root's hosts are fixed when it is created. Extend puts
// another one beside it for hosts that come later, and programs that were
// started before do not trust that one.
package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// rootLife is long because each new root has to be trusted anew.
	rootLife = 5 * 365 * 24 * time.Hour
	// leafLife stays far below what verifiers demand of local roots too:
	// Apple 825 days (HT210176), Chromium 200 days since 2026.
	leafLife = 7 * 24 * time.Hour
	// backdate is for clients whose clock is behind: virtual machines,
	// containers, a machine whose clock was just set.
	backdate = time.Hour
	// cacheSize bounds the leaves in memory. A root has a few dozen hosts,
	// but a client may name any host below them.
	cacheSize = 256
)

// ErrNotPermitted means that the roots' name constraints exclude a host.
var ErrNotPermitted = errors.New("host is not permitted by the root's name constraints")

// An Authority mints leaves under the root that Load read. It is safe for
// concurrent use.
type Authority struct {
	signer          // the first root
	more   []signer // those that Extend has added, the oldest first

	replaced bool

	mu     sync.Mutex
	leaves map[string]*leaf
}

// signer is a root and its key.
type signer struct {
	root *x509.Certificate
	key  *ecdsa.PrivateKey
}

// permits reports whether the root may vouch for a name in its normal form.
func (s signer) permits(name string) bool {
	return slices.ContainsFunc(s.root.PermittedDNSDomains, func(permitted string) bool {
		return name == permitted || strings.HasSuffix(name, "."+permitted)
	})
}

// signerOf returns the root that vouches for a name in its normal form: the
// oldest one, which the most programs trust.
func (a *Authority) signerOf(name string) (signer, bool) {
	for _, s := range append([]signer{a.signer}, a.more...) {
		if s.permits(name) {
			return s, true
		}
	}
	return signer{}, false
}

// leaf is a cached certificate, or one that is being minted.
type leaf struct {
	ready chan struct{} // closed when the rest is set
	cert  *tls.Certificate
	err   error
	renew time.Time
}

// Certificate returns the first root. The caller must not change it.
func (a *Authority) Certificate() *x509.Certificate { return a.root }

// Certificates returns all roots, the oldest first. The caller must not change
// them.
func (a *Authority) Certificates() []*x509.Certificate {
	list := []*x509.Certificate{a.root}
	for _, s := range a.more {
		list = append(list, s.root)
	}
	return list
}

// NotBefore is when the first root was created, to the second. A program that
// was running then cannot trust it.
func (a *Authority) NotBefore() time.Time { return created(a.root) }

// Since is when the root was created that vouches for host, to the second. A
// program that was running then does not trust a leaf for host. It is false
// for a host that is not permitted.
func (a *Authority) Since(host string) (time.Time, bool) {
	name, err := normal(host)
	if err != nil {
		return time.Time{}, false
	}
	s, ok := a.signerOf(name)
	if !ok {
		return time.Time{}, false
	}
	return created(s.root), true
}

func created(root *x509.Certificate) time.Time { return root.NotBefore.Add(backdate) }

// Replaced reports whether this authority took the place of one that was lost
// or had expired: then programs run that trust that one and not this.
func (a *Authority) Replaced() bool { return a.replaced }

// Permits reports whether a root may vouch for host: it is one of the hosts
// that the root was created for, or below one.
func (a *Authority) Permits(host string) bool {
	_, ok := a.Since(host)
	return ok
}

// Leaf returns a certificate for host, with its key. It is minted at the
// first call for that host and again at half of its life; concurrent calls
// wait for one minting. The error wraps ErrNotPermitted for a host that the
// root may not vouch for. The caller must not change the certificate.
func (a *Authority) Leaf(host string) (*tls.Certificate, error) {
	name, err := normal(host)
	if err != nil {
		return nil, fmt.Errorf("mint leaf for %q: %w", host, err)
	}
	s, ok := a.signerOf(name)
	if !ok {
		return nil, fmt.Errorf("mint leaf for %q: %w", host, ErrNotPermitted)
	}

	a.mu.Lock()
	l := a.leaves[name]
	if l != nil && !l.stale() {
		a.mu.Unlock()
		<-l.ready
		return l.cert, l.err
	}
	l = &leaf{ready: make(chan struct{})}
	a.makeRoom()
	a.leaves[name] = l
	a.mu.Unlock()

	l.cert, l.err = s.mint(name)
	l.renew = time.Now().Add(leafLife / 2)
	if l.err != nil {
		l.err = fmt.Errorf("mint leaf for %q: %w", host, l.err)
		l.renew = time.Time{}
	}
	close(l.ready)
	return l.cert, l.err
}

// stale reports whether l is to be minted again. One that is still being
// minted is not.
func (l *leaf) stale() bool {
	select {
	case <-l.ready:
		return !time.Now().Before(l.renew)
	default:
		return false
	}
}

// makeRoom drops any one leaf if the cache is full: minting it again costs a
// tenth of a millisecond. The caller holds the lock.
func (a *Authority) makeRoom() {
	if a.leaves == nil {
		a.leaves = make(map[string]*leaf)
	}
	for name := range a.leaves {
		if len(a.leaves) < cacheSize {
			return
		}
		delete(a.leaves, name)
	}
}

func (s signer) mint(name string) (*tls.Certificate, error) {
	now := time.Now()
	if err := valid(s.root, now); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		DNSNames:    []string{name},
		NotBefore:   later(now.Add(-backdate), s.root.NotBefore),
		NotAfter:    earlier(now.Add(leafLife), s.root.NotAfter),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	// An empty subject would make the SAN critical, and X.520 bounds a
	// common name to 64 characters.
	if len(name) <= 64 {
		template.Subject.CommonName = name
	} else {
		template.Subject.Organization = []string{organization}
	}
	if template.SerialNumber, err = serial(); err != nil {
		return nil, err
	}
	// The parent is the parsed root, so that the leaf's key identifier is the
	// one stored in the root, however it was computed then.
	der, err := x509.CreateCertificate(rand.Reader, template, s.root, key.Public(), s.key)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: parsed}, nil
}

const organization = "Halton Meter"

// rootTemplate describes a root for hosts, created now on the named machine.
func rootTemplate(hosts []string, machine string, now time.Time) (*x509.Certificate, error) {
	number, err := serial()
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber: number,
		// Unique, so that two roots in one trust store can be told apart,
		// and OpenSSL never takes one for the other's issuer.
		Subject: pkix.Name{
			Organization: []string{organization},
			CommonName:   commonName(machine, now),
		},
		NotBefore: now.Add(-backdate),
		NotAfter:  now.Add(rootLife),
		// No extended key usage: on a root it is an error to some linters,
		// and serverAuth stands in each leaf.
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,

		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         hosts,
		ExcludedIPRanges: []*net.IPNet{
			{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
			{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
		},
	}, nil
}

// commonName fits X.520's bound of 64 characters, whatever the machine is
// called.
func commonName(machine string, now time.Time) string {
	machine, _, _ = strings.Cut(machine, ".")
	machine = strings.ToValidUTF8(machine, "")
	if r := []rune(machine); len(r) > 24 {
		machine = string(r[:24])
	}
	if machine == "" {
		machine = "localhost"
	}
	return "Halton Meter CA, " + machine + ", " + now.UTC().Format("2006-01-02 15:04:05")
}

// serial returns a random positive number of 127 bits: with 128 the DER
// encoding could need a 17th byte.
func serial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

// normal returns the host in lower case without its root dot, or an error if
// it is not a host name. An IP address is not one.
func normal(host string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if name == "" || len(name) > 253 || net.ParseIP(name) != nil {
		return "", errNotName
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return "", errNotName
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return "", errNotName
			}
		}
	}
	return name, nil
}

var errNotName = errors.New("not a host name")

func valid(root *x509.Certificate, now time.Time) error {
	if now.Before(root.NotBefore) {
		return fmt.Errorf("the root is valid from %s on: check the clock", root.NotBefore.Format(time.RFC3339))
	}
	if now.After(root.NotAfter) {
		return fmt.Errorf("the root %w on %s", ErrExpired, root.NotAfter.Format(time.DateOnly))
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
