package e2e

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
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

	plain := h2spec(t, upstream.Addr(), func(*x509.Certificate) bool { return true })
	failed := h2spec(t, through, func(leaf *x509.Certificate) bool {
		if strings.HasPrefix(leaf.Issuer.CommonName, "Halton Meter") {
			return true
		}
		// A program that leaves three times without a request, as some cases
		// do, is taken for one that distrusts the daemon's certificate, and let
		// through to the provider. The daemon has to forget that.
		m.must("stop")
		if err := os.Remove(filepath.Join(m.home, ".halton-meter", "learned.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		m.must("start")
		return false
	})
	for name, why := range failed {
		if plain[name] == nil {
			t.Errorf("the daemon fails %s: %v", name, why)
		}
	}
}

// h2spec returns the cases that the server at addr fails. A case counts only
// if the certificate before and after it is that of the server in question.
func h2spec(t *testing.T, addr string, asked func(*x509.Certificate) bool) map[string]error {
	t.Helper()
	at, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	conf := &config.Config{
		Host: at.IP.String(), Port: at.Port, Path: "/", TLS: true, Insecure: true,
		Strict: true, MaxHeaderLen: 4000, Timeout: 2 * time.Second,
	}
	failed := map[string]error{}
	ran := 0
	var run func(*spec.TestGroup)
	run = func(g *spec.TestGroup) {
		for n, c := range slices.Concat(g.Tests, g.StrictTests) {
			name := fmt.Sprintf("%s/%d (%s)", g.ID(), n+1, c.Desc)
			for tries := 1; ; tries++ {
				if tries > 6 {
					t.Fatalf("%s: somebody else answers at %s", name, addr)
				}
				if !asked(get(t, addr)) {
					continue
				}
				if err := c.Test(conf, n+1); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				// Some cases wait for an answer for conf.Timeout, which may be
				// too short once on a busy machine, but not again and again.
				if asked(get(t, addr)) && (!c.Result.Failed || tries >= 3) {
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

// get makes a request over HTTP/2, and returns the certificate of the server.
func get(t *testing.T, addr string) *x509.Certificate {
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
	return resp.TLS.PeerCertificates[0]
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
