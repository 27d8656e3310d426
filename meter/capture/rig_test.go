package capture

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/meter/ca"
	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/meter/tap"
	"github.com/haltonlabs/halton-meter/proxyedge"
)

const testHost = "api.openai.com"

// metered is the one metered path of the tests.
const metered = "/v1/chat/completions"

func TestMain(m *testing.M) {
	code := m.Run()
	if left := leaked(); code == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "goroutines left over:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

// leaked returns the goroutines that are left when everything was shut down.
// Connections take a moment to notice that they are closed.
func leaked() string {
	var left []string
	for range 100 {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		buf := make([]byte, 1<<20)
		left = nil
		for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "meter/capture.(*") || strings.Contains(g, "net/http.(*") {
				left = append(left, g)
			}
		}
		if left == nil {
			return ""
		}
		time.Sleep(20 * time.Millisecond) // there is no event for the end of a foreign goroutine
	}
	return strings.Join(left, "\n\n")
}

// rig is an Interceptor between real sockets: clients dial addr as if it were
// the edge's tunnel to testHost, and the provider is a local TLS server.
type rig struct {
	*Interceptor
	addr     string
	provider *httptest.Server
	records  chan tap.Record
	trust    *x509.CertPool // what clients trust
}

// newRig starts a rig whose provider is h. With set it can be changed first.
func newRig(t *testing.T, h http.HandlerFunc, set ...func(*rig)) *rig {
	t.Helper()
	r := &rig{records: make(chan tap.Record, 100)}
	root := newTestRoot(t)
	r.provider = httptest.NewUnstartedServer(h)
	r.provider.EnableHTTP2 = true
	r.provider.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.provider.TLS = &tls.Config{Certificates: []tls.Certificate{root.issue(t, leafSpec{host: testHost})}}
	r.Interceptor = &Interceptor{
		Authority: newTestAuthority(t),
		Tap:       &tap.Tap{Done: func(rec tap.Record) { r.records <- rec }},
		Metered:   func(string, int) bool { return true },
		Lookup: func(_, host, path string) (provider.Endpoint, bool) {
			return provider.Endpoint{Provider: "openai", Kind: provider.KindChat}, host == testHost && path == metered
		},
		RootCAs: root.pool,
		Logger:  slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	r.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, r.provider.Listener.Addr().String())
	}
	for _, f := range set {
		f(r)
	}
	r.trust = x509.NewCertPool()
	r.trust.AddCert(r.Authority.Certificate())
	r.provider.StartTLS()
	t.Cleanup(r.provider.Close)
	r.listen(t)
	return r
}

// listen plays the proxyedge.Receiver.
func (r *rig) listen(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = ln.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			c := proxyedge.Chain{
				Host: testHost, Port: 443, User: "acme",
				Client: netip.MustParseAddrPort("127.0.0.1:54321"),
			}
			serving.Go(func() { r.Handle(t.Context(), conn, c) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // whatever a test left open is cut
		r.Shutdown(ctx)
		serving.Wait()
		if err := r.Tap.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if n := len(r.records); n != 0 {
			t.Errorf("%d records that the test did not expect: %+v", n, <-r.records)
		}
	})
}

// client returns a client of the given HTTP version that trusts the authority.
func (r *rig) client(t *testing.T, major int) *http.Client {
	t.Helper()
	tr := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, r.addr)
		},
		TLSClientConfig:       &tls.Config{RootCAs: r.trust},
		DisableCompression:    true,
		ExpectContinueTimeout: time.Minute,
		Protocols:             new(http.Protocols),
	}
	tr.Protocols.SetHTTP1(major == 1)
	tr.Protocols.SetHTTP2(major == 2)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// dialTLS returns a raw HTTP/1.1 connection through the interceptor.
func (r *rig) dialTLS(t *testing.T) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", r.addr, &tls.Config{RootCAs: r.trust, ServerName: testHost})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// record waits for the next record.
func (r *rig) record(t *testing.T, want tap.Outcome) tap.Record {
	t.Helper()
	rec := <-r.records
	if rec.Outcome != want {
		t.Errorf("outcome %s (error %v), want %s", rec.Outcome, rec.Err, want)
	}
	if (rec.Err != nil) != (want == tap.UpstreamFailed) {
		t.Errorf("outcome %s with error %v", rec.Outcome, rec.Err)
	}
	return rec
}

// each runs a test for both versions of HTTP.
func each(t *testing.T, f func(t *testing.T, major int)) {
	for _, major := range []int{1, 2} {
		t.Run(fmt.Sprintf("h%d", major), func(t *testing.T) { f(t, major) })
	}
}

func newRequest(t *testing.T, method, path string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+testHost+path, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func do(t *testing.T, c *http.Client, req *http.Request) (*http.Response, []byte) {
	t.Helper()
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, body
}

var (
	authorityOnce sync.Once
	authority     *ca.Authority
	authorityErr  error
)

func newTestAuthority(t *testing.T) *ca.Authority {
	t.Helper()
	authorityOnce.Do(func() {
		var dir string
		if dir, authorityErr = os.MkdirTemp("", ""); authorityErr == nil {
			defer os.RemoveAll(dir)
			authority, authorityErr = createAuthority(dir)
		}
	})
	if authorityErr != nil {
		t.Fatal(authorityErr)
	}
	return authority
}

func createAuthority(dir string) (*ca.Authority, error) {
	dir = filepath.Join(dir, "ca")
	if err := ca.Create(dir, []string{testHost}); err != nil {
		return nil, err
	}
	return ca.Load(dir)
}

// testRoot is the authority of the provider.
type testRoot struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

type leafSpec struct {
	host       string
	expired    bool
	selfSigned bool
}

func newTestRoot(t *testing.T) *testRoot {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "provider's root"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	r := &testRoot{key: newKey(t), pool: x509.NewCertPool()}
	r.cert = certify(t, template, template, r.key, r.key)
	r.pool.AddCert(r.cert)
	return r
}

func (r *testRoot) issue(t *testing.T, spec leafSpec) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "provider"},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{spec.host}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if spec.expired {
		template.NotAfter = time.Now().Add(-time.Hour)
	}
	key := newKey(t)
	parent, signer := r.cert, r.key
	if spec.selfSigned {
		parent, signer = template, key
	}
	cert := certify(t, template, parent, key, signer)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func certify(t *testing.T, template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// testWriter puts the log into the test's output.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", strings.TrimSpace(string(p)))
	return len(p), nil
}
