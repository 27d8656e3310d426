package agents

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/haltonlabs/halton-meter/internal/reserved"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
	"github.com/haltonlabs/halton-meter/meter/ca"
)

// selfTestBudget bounds one request of the self-test, which stays on this
// machine.
const selfTestBudget = 5 * time.Second

// TestMetered makes a request through the edge that takes the whole way of a
// metered call: the tunnel to the daemon, its leaf, the trust bundle. The
// daemon answers it by itself, so that it works offline and costs nothing.
func TestMetered(ctx context.Context, p Paths) error {
	bundle, err := smallfile.Read(p.Bundle(), smallfile.Max)
	if err != nil {
		return fmt.Errorf("metered self-test: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(bundle) {
		return fmt.Errorf("metered self-test: %s holds no certificate", p.Bundle())
	}
	ctx, cancel := context.WithTimeout(ctx, selfTestBudget)
	defer cancel()
	transport := &http.Transport{
		Proxy:             http.ProxyURL(&url.URL{Scheme: "http", Host: EdgeAddress(EdgePort(p))}),
		TLSClientConfig:   &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true,
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+reserved.Metered+"/", nil)
	if err != nil {
		return err
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("metered self-test: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("metered self-test: answered %s", res.Status)
	}
	if !vouchedByUs(p, res.TLS) {
		// A proxy that inspects answers any name.
		return errors.New("metered self-test: somebody else than the daemon answered, so calls pass unmetered")
	}
	return nil
}

// vouchedByUs reports whether a connection's certificate is of our authority.
func vouchedByUs(p Paths, state *tls.ConnectionState) bool {
	ours := x509.NewCertPool()
	for _, name := range ca.RootFiles(p.CA()) {
		if root, err := smallfile.Read(name, smallfile.Max); err == nil {
			ours.AppendCertsFromPEM(root)
		}
	}
	if state == nil || len(state.PeerCertificates) == 0 {
		return false
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: ours})
	return err == nil
}

// TestPassthrough opens a tunnel through the edge to a port of its own, which
// nobody meters, and sends a line there and back.
func TestPassthrough(ctx context.Context, p Paths) error {
	ctx, cancel := context.WithTimeout(ctx, selfTestBudget)
	defer cancel()
	if err := passthrough(ctx, EdgeAddress(EdgePort(p))); err != nil {
		return fmt.Errorf("passthrough self-test: %w", err)
	}
	return nil
}

func passthrough(ctx context.Context, edge string) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.Copy(conn, conn)
	}()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", edge)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	target := ln.Addr().String()
	const line = "passthrough\n"
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target); err != nil {
		return err
	}
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", res.Status)
	}
	if _, err := io.WriteString(conn, line); err != nil {
		return err
	}
	got, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	if got != line {
		return errors.New("other bytes came back")
	}
	return nil
}
