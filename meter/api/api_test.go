package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/api"
)

func ExampleServer() {
	s := &api.Server{Version: "1.2.3", Health: func() error { return nil }}
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	resp, err := http.Get(srv.URL + "/health")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Print(resp.StatusCode, " ", string(body))
	// Output: 200 {"status":"ok","version":"1.2.3"}
}

// What is amiss is told beside the verdict.
func ExampleHealth() {
	s := &api.Server{
		Version: "1.2.3", Health: func() error { return nil },
		Warnings: func() []string { return []string{"the disk is nearly full"} },
	}
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	resp, err := http.Get(srv.URL + "/health")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	var h api.Health
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(h.Status, h.Warnings)
	// Output: ok [the disk is nearly full]
}

func TestHealthTellsTheReason(t *testing.T) {
	s := &api.Server{Version: "1", Health: func() error { return errors.New("disk full") }}
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	resp, err := http.Get(srv.URL + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body map[string]string
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 503 || body["reason"] != "disk full" || body["status"] == "ok" {
		t.Errorf("got %d %v", resp.StatusCode, body)
	}
}

func TestHostIsCheckedOnEveryRoute(t *testing.T) {
	s := &api.Server{Health: func() error { return nil }}
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	port := srv.URL[strings.LastIndex(srv.URL, ":")+1:]
	for host, want := range map[string]int{
		"127.0.0.1:" + port:          200,
		"localhost:" + port:          200,
		"LOCALHOST:" + port:          200,
		"[::1]:" + port:              200,
		"127.0.0.1:1":                403,
		"127.0.0.1":                  403,
		":" + port:                   403,
		"evil.example:" + port:       403,
		"127.0.0.1.evil:" + port:     403,
		"localhost.:" + port:         403,
		"0.0.0.0:" + port:            403,
		"[::ffff:127.0.0.1]:" + port: 403,
	} {
		for _, path := range []string{"/health", "/no-such-route"} {
			req, err := http.NewRequest("GET", srv.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			w := want
			if path != "/health" && want == 200 {
				w = 404
			}
			if resp.StatusCode != w {
				t.Errorf("Host %q, %s: got %d, want %d", host, path, resp.StatusCode, w)
			}
		}
	}
}

func TestWritingNeedsTokenJSONAndSameOrigin(t *testing.T) {
	flushed := 0
	s := &api.Server{
		Health: func() error { return nil },
		Flush:  func(context.Context) error { flushed++; return nil },
		Token:  "secret",
	}
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	tests := map[string]struct {
		header http.Header
		want   int
	}{
		"all right":    {http.Header{"Authorization": {"Bearer secret"}, "Content-Type": {"application/json; charset=utf-8"}}, 204},
		"no token":     {http.Header{"Content-Type": {"application/json"}}, 401},
		"wrong token":  {http.Header{"Authorization": {"Bearer secreT"}, "Content-Type": {"application/json"}}, 401},
		"a form":       {http.Header{"Authorization": {"Bearer secret"}, "Content-Type": {"text/plain"}}, 415},
		"cross origin": {http.Header{"Authorization": {"Bearer secret"}, "Content-Type": {"application/json"}, "Sec-Fetch-Site": {"cross-site"}}, 403},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := flushed
			req, err := http.NewRequest("POST", srv.URL+"/v1/flush", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header = tt.header
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != tt.want {
				t.Errorf("got %d, want %d", resp.StatusCode, tt.want)
			}
			if did := flushed > before; did != (tt.want == 204) {
				t.Errorf("flushed: %v", did)
			}
		})
	}
}

func TestWithoutATokenNothingIsWritten(t *testing.T) {
	s := &api.Server{Health: func() error { return nil }}
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	req, err := http.NewRequest("POST", srv.URL+"/v1/flush", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer "}, "Content-Type": {"application/json"}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 401 {
		t.Errorf("got %d, want 401", resp.StatusCode)
	}
}
