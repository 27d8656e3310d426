package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
	"github.com/haltonlabs/halton-meter/proxyedge"
)

// cleanEnvironment drops what would lead our own processes through a proxy,
// perhaps ourselves, or make them trust our own CA.
func cleanEnvironment(p agents.Paths) {
	for _, name := range agents.ProxyVariables {
		os.Unsetenv(name)
	}
	for _, name := range agents.BundleVariables {
		if os.Getenv(name) == p.Bundle() {
			os.Unsetenv(name)
		}
	}
}

// roots are the certificates that verify providers: the system's, those of the
// configuration, and those that the user's own environment named, as where a
// company's proxy reads along. Nil: the system's alone.
func roots(p agents.Paths, c config.Config) (*x509.CertPool, error) {
	adopted, err := smallfile.Read(p.AdoptedRoots(), smallfile.Max)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("load the adopted roots: %w", err)
	}
	if c.Upstream.CAFile == "" && len(adopted) == 0 {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("load the system's roots: %w", err)
	}
	pool.AppendCertsFromPEM(adopted)
	if c.Upstream.CAFile == "" {
		return pool, nil
	}
	pem, err := smallfile.Read(c.Upstream.CAFile, smallfile.Max)
	if err != nil {
		return nil, fmt.Errorf("load upstream.ca_file: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("load upstream.ca_file: %s holds no certificate in PEM form", c.Upstream.CAFile)
	}
	return pool, nil
}

// dialer connects to providers: directly, or through the parent proxy.
func dialer(c config.Config, roots *x509.CertPool) (dialFunc, error) {
	p, err := parent(c, roots)
	if p == nil || err != nil {
		return nil, err
	}
	return p.DialContext, nil
}

// parent is the proxy that the configuration names, nil if there is none.
func parent(c config.Config, roots *x509.CertPool) (*proxyedge.ParentProxy, error) {
	u, err := c.Upstream.ProxyURL()
	if u == nil || err != nil {
		return nil, err
	}
	return &proxyedge.ParentProxy{URL: u, NoProxy: c.Upstream.NoProxy, RootCAs: roots}, nil
}

// listen binds the edge's own port and no other: clients have it.
func listen(addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w (halton-meter status tells who has it)", err)
	}
	return ln, nil
}

var errNoDaemon = errors.New("no daemon is recorded")
