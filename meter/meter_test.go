package meter_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/internal/replay"
	"github.com/haltonlabs/halton-meter/internal/reserved"
	"github.com/haltonlabs/halton-meter/internal/secret"
	"github.com/haltonlabs/halton-meter/meter"
	"github.com/haltonlabs/halton-meter/meter/ca"
	"github.com/haltonlabs/halton-meter/meter/ledger"
	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/portalloc"
	"github.com/haltonlabs/halton-meter/proxyedge"
)

// prepare makes a state directory as "halton-meter init" does, with what every
// program can import.
func prepare(dir string) error {
	for _, name := range []string{"edge-key", "api-token"} {
		secret := make([]byte, 32)
		rand.Read(secret)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(hex.EncodeToString(secret)), 0o600); err != nil {
			return err
		}
	}
	return ca.Create(filepath.Join(dir, "ca"), append(provider.Hosts(), reserved.Metered))
}

// world is a daemon, an edge before it and a provider behind it.
type world struct {
	*testing.T
	dir      string
	upstream *replay.Server
	config   meter.Config
	stop     context.CancelFunc
	ended    chan error
	edge     string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, dir: t.TempDir()}
	if err := prepare(w.dir); err != nil {
		t.Fatal(err)
	}
	recs := replay.Load(t, "provider/testdata/recordings/anthropic.jsonl")[:1]
	w.upstream = replay.Start(t, "127.0.0.1:0", recs, provider.Hosts()...)
	pem, err := os.ReadFile(w.upstream.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	w.config = meter.Config{
		Dir:      w.dir,
		Internal: portalloc.Port{Name: "internal"}, // any free one
		API:      portalloc.Port{Name: "api"},
		Dial:     w.dial,
		RootCAs:  roots,
		Logger:   slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	return w
}

// dial leads every name to the provider of the test.
func (w *world) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", w.upstream.Addr())
}

// start runs the daemon until the test stops it, and an edge before it.
func (w *world) start() {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w.stop, w.ended = cancel, make(chan error, 1)
	go func() { w.ended <- meter.Run(ctx, w.config) }()
	w.Cleanup(func() { cancel() })
	for {
		if rec := w.record(); rec.Live() && w.health(rec) == http.StatusOK {
			break
		}
		select {
		case err := <-w.ended:
			w.Fatalf("the daemon ended: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	key, err := secret.Read(filepath.Join(w.dir, "edge-key"))
	if err != nil {
		w.Fatal(err)
	}
	local := func(name string) string {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(w.record().Ports[name]))
	}
	edge := &proxyedge.Edge{
		Metered: func(host string, port int) bool {
			return host == reserved.Metered || provider.IsMetered(host, port)
		},
		Daemon: func() (proxyedge.Daemon, error) {
			return proxyedge.Daemon{Proxy: local("internal"), HealthURL: "http://" + local("api") + "/health"}, nil
		},
		Key:  func() []byte { return key },
		Dial: w.dial,
	}
	edgeCtx, stopEdge := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); edge.Serve(edgeCtx, ln) }()
	w.Cleanup(func() { stopEdge(); <-done })
	w.edge = ln.Addr().String()
}

func (w *world) record() portalloc.Record {
	rec, _ := portalloc.ReadRecord(filepath.Join(w.dir, "effective-ports.json"))
	return rec
}

func (w *world) health(rec portalloc.Record) int {
	resp, err := http.Get("http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(rec.Ports["api"])) + "/health")
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// client trusts our CA and goes through the edge.
func (w *world) client() *http.Client {
	w.Helper()
	roots := x509.NewCertPool()
	for _, file := range []string{filepath.Join(w.dir, "ca", "ca.pem"), w.upstream.CAFile} {
		pem, err := os.ReadFile(file)
		if err != nil {
			w.Fatal(err)
		}
		roots.AppendCertsFromPEM(pem)
	}
	tr := &http.Transport{
		Proxy:             http.ProxyURL(&url.URL{Scheme: "http", Host: w.edge, User: url.UserPassword("acme", "x")}),
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
	}
	w.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (w *world) play(c *http.Client) []byte {
	w.Helper()
	rec := w.upstream.Recordings[0]
	req, err := http.NewRequest(rec.Method, rec.URL, strings.NewReader(rec.RequestBody))
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set(replay.Header, "0")
	resp, err := c.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	return body
}

func (w *world) rows() []ledger.Row {
	w.Helper()
	r, err := ledger.OpenReader(w.Context(), w.dir)
	if err != nil {
		w.Fatal(err)
	}
	defer r.Close()
	var rows []ledger.Row
	for row, err := range r.Rows(w.Context(), ledger.Query{}) {
		if err != nil {
			w.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

// wait waits for the daemon's end.
func (w *world) wait() error {
	w.stop()
	return <-w.ended
}

func TestAnExchangeBecomesARow(t *testing.T) {
	w := newWorld(t)
	w.start()
	if got := w.play(w.client()); !bytes.Equal(got, w.upstream.Recordings[0].Body()) {
		t.Errorf("the client read %q", got)
	}
	if err := w.wait(); err != nil {
		t.Errorf("the drain failed: %v", err)
	}
	rows := w.rows()
	if len(rows) != 1 {
		t.Fatalf("%d rows", len(rows))
	}
	row := rows[0]
	if row.Project != "acme" || row.Status != "success" || !row.TokensComplete || row.CostNanoUSD == nil || *row.InputTokens != 20 {
		t.Errorf("row %+v", row)
	}
}

// A stop in the middle of a stream: the client reads it to its end, new
// tunnels go past the daemon, and the row is stored.
func TestDrain(t *testing.T) {
	w := newWorld(t)
	w.start()
	release := make(chan struct{})
	started := make(chan struct{})
	stream := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(rw, "event: ping\ndata: {}\n\n")
		http.NewResponseController(rw).Flush()
		close(started)
		<-release
		io.WriteString(rw, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
	})
	w.upstream.Handle("POST /v1/messages", stream)
	client := w.client()
	type answer struct {
		body []byte
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		resp, err := client.Post("https://api.anthropic.com/v1/messages", "application/json", strings.NewReader(`{"model":"claude-x","stream":true}`))
		if err != nil {
			got <- answer{nil, err}
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		got <- answer{body, err}
	}()
	<-started
	w.stop()
	for w.health(w.record()) != http.StatusServiceUnavailable {
		time.Sleep(time.Millisecond)
	}
	w.upstream.Handle("POST /v1/messages", nil)
	if got := w.play(w.client()); len(got) == 0 {
		t.Error("a new call failed during the drain")
	}
	close(release)
	if a := <-got; a.err != nil || !bytes.Contains(a.body, []byte("message_stop")) {
		t.Errorf("the open stream: %q, %v", a.body, a.err)
	}
	if err := <-w.ended; err != nil {
		t.Errorf("the drain failed: %v", err)
	}
	if rows := w.rows(); len(rows) != 1 || rows[0].Status != "success" {
		t.Errorf("rows: %+v", rows)
	}
}

// A client that does not trust our certificate fails once; from then on its
// calls to that host pass unmetered, and those of others are metered.
func TestLearnedPassthrough(t *testing.T) {
	w := newWorld(t)
	w.start()
	pinned := w.client()
	pem, err := os.ReadFile(w.upstream.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	pinned.Transport.(*http.Transport).TLSClientConfig.RootCAs = roots
	if _, err := pinned.Get("https://api.anthropic.com/v1/models"); err == nil {
		t.Fatal("a client trusted what it should not")
	}
	// It has told the daemon, which may take a moment to hear it.
	for {
		resp, err := pinned.Get("https://api.anthropic.com/v1/models")
		if err == nil {
			resp.Body.Close()
			break
		}
	}
	if len(w.upstream.Seen()) != 1 {
		t.Errorf("the provider saw %d calls, want 1", len(w.upstream.Seen()))
	}
	if err := w.wait(); err != nil {
		t.Error(err)
	}
	if rows := w.rows(); len(rows) != 0 {
		t.Errorf("a tunnel has rows: %+v", rows)
	}
}

func TestASecondDaemonIsRefused(t *testing.T) {
	w := newWorld(t)
	w.start()
	err := meter.Run(t.Context(), w.config)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("got %v, want an error that names process %d", err, os.Getpid())
	}
	if err := w.wait(); err != nil {
		t.Error(err)
	}
}

func TestRunRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	tests := map[string]struct {
		spoil func(*world)
		want  string
	}{
		"a key that others can read": {func(w *world) { os.Chmod(filepath.Join(w.dir, "edge-key"), 0o644) }, "edge-key"},
		"no token":                   {func(w *world) { os.Remove(filepath.Join(w.dir, "api-token")) }, "halton-meter init"},
		"a CA key that others can read": {func(w *world) {
			os.Chmod(filepath.Join(w.dir, "ca", "ca-key.pem"), 0o644)
		}, "ca-key.pem"},
		"every port taken": {func(w *world) {
			w.config.Internal = portalloc.Port{Name: "internal", Preferred: port, Pinned: true}
		}, strconv.Itoa(port)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tt.spoil(w)
			err := meter.Run(t.Context(), w.config)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestExhaustedPortsAreAnError(t *testing.T) {
	var exhausted *portalloc.ExhaustedError
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	w := newWorld(t)
	w.config.API = portalloc.Port{Name: "api", Preferred: taken.Addr().(*net.TCPAddr).Port, Pinned: true}
	if err := meter.Run(t.Context(), w.config); !errors.As(err, &exhausted) || exhausted.Name != "api" {
		t.Errorf("got %v", err)
	}
}

// A daemon that runs until its context ends.
func ExampleConfig() {
	dir, err := os.MkdirTemp("", "meter")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := prepare(dir); err != nil { // "halton-meter init" does this
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // at once, in this example
	err = meter.Run(ctx, meter.Config{
		Dir:      dir,
		Internal: portalloc.Port{Name: "internal"},
		API:      portalloc.Port{Name: "api"},
	})
	fmt.Println("drained:", err == nil)
	// Output: drained: true
}
