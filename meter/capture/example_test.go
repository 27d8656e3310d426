package capture_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/haltonlabs/halton-meter/meter/ca"
	"github.com/haltonlabs/halton-meter/meter/capture"
	"github.com/haltonlabs/halton-meter/meter/tap"
	"github.com/haltonlabs/halton-meter/proxyedge"
)

// A local server stands in for the provider, and a plain listener for the
// edge. With a proxyedge.Receiver it would be
//
//	r := &proxyedge.Receiver{Key: key, Admit: i.Admit, Handle: i.Handle}
func ExampleInterceptor() {
	tmp, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	dir := filepath.Join(tmp, "ca")
	if err := ca.Create(dir, []string{"example.com"}); err != nil {
		log.Fatal(err)
	}
	authority, err := ca.Load(dir)
	if err != nil {
		log.Fatal(err)
	}

	// httptest's certificate is for example.com.
	upstream := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "hello")
	}))
	defer upstream.Close()
	roots := x509.NewCertPool()
	roots.AddCert(upstream.Certificate())

	i := &capture.Interceptor{
		Authority: authority,
		Tap:       &tap.Tap{},
		Metered:   func(host string, port int) bool { return host == "example.com" && port == 443 },
		RootCAs:   roots,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, upstream.Listener.Addr().String())
		},
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go i.Handle(context.Background(), conn, proxyedge.Chain{Host: "example.com", Port: 443})
		}
	}()

	trust := x509.NewCertPool()
	trust.AddCert(authority.Certificate())
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, ln.Addr().String())
		},
		TLSClientConfig: &tls.Config{RootCAs: trust},
	}}
	res, err := client.Get("https://example.com/")
	if err != nil {
		log.Fatal(err)
	}
	res.Body.Close()
	fmt.Println(res.Status, strings.HasPrefix(res.TLS.PeerCertificates[0].Issuer.CommonName, "Halton Meter CA"))

	client.CloseIdleConnections()
	if err := i.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
	fmt.Println("intercepted:", i.Counters().Intercepted)
	for _, b := range i.Bypassed() {
		fmt.Println(b.Host, "passes unmetered:", b.Reason)
	}
	// Output:
	// 200 OK true
	// intercepted: 1
}
