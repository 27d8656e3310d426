package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/haltonlabs/halton-meter/proxyedge"
)

// One client, a service, and a helper that comes and goes.
func TestEdge(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "service "+r.RequestURI)
	}))
	defer service.Close()
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("32 random bytes that both can read"), 0o600); err != nil {
		t.Fatal(err)
	}
	helper, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := helper.Addr().String()
	stopHelper := serveHelper(t, helper, key)

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, ln, service.URL, address, key) }()

	for _, want := range []string{"helper", "service"} {
		if got := get(t, "http://"+ln.Addr().String()+"/p/x?y"); got != want+" /p/x?y" {
			t.Errorf("%q, want the %s", got, want)
		}
		stopHelper()
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// serveHelper answers in the place of the service, until it is stopped.
func serveHelper(t *testing.T, ln net.Listener, keyFile string) (stop func()) {
	key, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	receiver := &proxyedge.Receiver{Key: key, Handle: func(_ context.Context, conn net.Conn, _ proxyedge.Chain) {
		defer conn.Close()
		req, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			t.Error(err)
			return
		}
		body := "helper " + req.RequestURI
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}}
	go func() { done <- receiver.Serve(ctx, ln) }()
	stopped := false
	return func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
