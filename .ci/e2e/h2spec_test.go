package e2e

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

// A client that speaks odd or broken HTTP/2 to the daemon is answered as the
// provider behind it, Go's own server, would answer: of h2spec's cases the
// daemon fails only those that this server fails as well.
func TestH2spec(t *testing.T) {
	m, upstream := newMachine(t, nil)
	_, edge := m.ports()
	through := tunnel(t, fmt.Sprintf("127.0.0.1:%d", edge), "api.anthropic.com:443")

	plain := h2spec(t, upstream.Addr(), "replay test root")
	failed := h2spec(t, through, "Halton Meter")
	for name, why := range failed {
		if plain[name] == nil {
			t.Errorf("the daemon fails %s: %v", name, why)
		}
	}
}

// h2spec returns the cases that the server at addr fails. Before the first and
// after each it makes sure, by the name of the certificate's issuer, which
// server that is: the edge may pass clients on to the provider.
func h2spec(t *testing.T, addr, issuer string) map[string]error {
	t.Helper()
	at, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	conf := &config.Config{
		Host: at.IP.String(), Port: at.Port, Path: "/", TLS: true, Insecure: true,
		Strict: true, MaxHeaderLen: 4000, Timeout: 2 * time.Second,
	}
	if got := issuerAt(t, addr); !strings.HasPrefix(got, issuer) {
		t.Fatalf("%s answers at %s, want %s", got, addr, issuer)
	}
	failed := map[string]error{}
	ran := 0
	var run func(*spec.TestGroup)
	run = func(g *spec.TestGroup) {
		for n, c := range slices.Concat(g.Tests, g.StrictTests) {
			name := fmt.Sprintf("%s/%d (%s)", g.ID(), n+1, c.Desc)
			// Some cases wait for an answer for conf.Timeout, which may be too
			// short once on a busy machine, but not again and again.
			for range 3 {
				if err := c.Test(conf, n+1); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if got := issuerAt(t, addr); !strings.HasPrefix(got, issuer) {
					t.Fatalf("after %s: %s answers at %s, want %s", name, got, addr, issuer)
				}
				if !c.Result.Failed {
					break
				}
			}
			ran++
			if c.Result.Failed {
				failed[name] = c.Result.Error
			}
		}
		for _, sub := range g.Groups {
			run(sub)
		}
	}
	for _, g := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
		run(g)
	}
	if ran == 0 {
		t.Fatal("h2spec has no cases")
	}
	t.Logf("%s: %d of %d cases fail: %q", addr, len(failed), ran, slices.Sorted(maps.Keys(failed)))
	return failed
}

// issuerAt makes a request over HTTP/2, and returns who issued the server's
// certificate.
func issuerAt(t *testing.T, addr string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2: true, DisableKeepAlives: true,
	}}
	resp, err := client.Get("https://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Fatalf("%s speaks %s", addr, resp.Proto)
	}
	return resp.TLS.PeerCertificates[0].Issuer.CommonName
}

// tunnel listens for clients that know no proxy, and takes them through the
// proxy to the target.
func tunnel(t *testing.T, proxy, target string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer client.Close()
				if err := relay(client, proxy, target); err != nil {
					t.Errorf("tunnel to %s: %v", target, err)
				}
			}()
		}
	}()
	return ln.Addr().String()
}

func relay(client net.Conn, proxy, target string) error {
	up, err := net.Dial("tcp", proxy)
	if err != nil {
		return err
	}
	defer up.Close()
	if _, err := fmt.Fprintf(up, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", target); err != nil {
		return err
	}
	in := bufio.NewReader(up)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	// However a copy ends, the other side sees it when the connection closes.
	go func() {
		_, _ = io.Copy(up, client)
		_ = up.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(client, in)
	return nil
}
