package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestConfigurations(t *testing.T) {
	o := &origin{originInfo: originInfo{Address: "127.0.0.1:2"}, caFile: "/dir/ca.pem"}
	for name, tt := range map[string]struct {
		config string
		want   []string
	}{
		"tinyproxy":    {tinyproxyConfig("127.0.0.1:1"), []string{"Port 1\n", "Listen 127.0.0.1\n", "Allow 127.0.0.1\n"}},
		"squid":        {squidConfig("127.0.0.1:1"), []string{"http_port 127.0.0.1:1\n", "pid_filename none\n"}},
		"haproxy":      {haproxyConfig("127.0.0.1:1", "127.0.0.1:2"), []string{"bind 127.0.0.1:1\n", "server origin 127.0.0.1:2\n", "mode tcp\n"}},
		"mitmproxy":    {strings.Join(mitmproxyArguments("/dir", "127.0.0.1:1", "127.0.0.1:2", "/ca"), " "), []string{"--listen-port 1 ", "--mode upstream:http://127.0.0.1:2 ", "confdir=/dir "}},
		"halton-meter": {productConfig([3]int{1, 3, 4}, o), []string{"edge_port = 1\n", "internal_port = 3\n", "api_port = 4\n", `proxy = "http://127.0.0.1:2"`, `ca_file = "/dir/ca.pem"`}},
	} {
		for _, w := range tt.want {
			if !strings.Contains(tt.config, w) {
				t.Errorf("%s: %q is missing from\n%s", name, w, tt.config)
			}
		}
	}
}

func TestMissingPeer(t *testing.T) {
	p := peer{name: "none", program: "no-such-program-at-all"}
	if _, err := p.run(t.Context(), nil, nil); !errors.Is(err, errMissing) {
		t.Errorf("error %v", err)
	}
}

// server answers each connection with do.
func server(t *testing.T, do func(net.Conn)) contender {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); do(conn) }()
		}
	}()
	return contender{name: "server", addr: ln.Addr().String(), connect: true, target: "example.com:443"}
}

func TestOpenTunnel(t *testing.T) {
	for name, tt := range map[string]struct {
		answer string
		ok     bool
	}{
		"established": {"HTTP/1.1 200 OK\r\n\r\n", true},
		"HTTP/1.0":    {"HTTP/1.0 200 Connection established\r\nProxy-Agent: x\r\n\r\n", true},
		"refused":     {"HTTP/1.1 403 Forbidden\r\n\r\n", false},
		"garbage":     {"SSH-2.0-OpenSSH\r\n\r\n", false},
		"cut":         {"HTTP/1.1 200", false},
		"endless":     {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 4096), false},
	} {
		c := server(t, func(conn net.Conn) {
			req, err := http.ReadRequest(bufio.NewReader(conn))
			if err != nil || req.Method != http.MethodConnect || req.Host != "example.com:443" {
				return
			}
			_, _ = io.WriteString(conn, tt.answer)
		})
		conn, err := c.open(t.Context())
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := server(t, func(conn net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(conn))
		cancel()
		_, _ = io.Copy(io.Discard, conn) // never answers
	})
	if _, err := c.open(ctx); err == nil {
		t.Error("a tunnel stands that nobody opened")
	}
}

func TestSpawnTellsWhyItFailed(t *testing.T) {
	w, err := newWorkshop()
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	port, err := w.freePort()
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.spawn(t.Context(), net.JoinHostPort("127.0.0.1", num(port)), sh, "-c", "echo no such option; exit 1")
	if err == nil || !strings.Contains(err.Error(), "no such option") {
		t.Errorf("error %v", err)
	}
}

func TestFamily(t *testing.T) {
	parents := map[int]int{1: 0, 2: 1, 3: 2, 4: 3, 5: 1, 6: 9}
	got := family([]int{2, 6}, parents)
	slices.Sort(got)
	if want := []int{2, 3, 4, 6}; !slices.Equal(got, want) {
		t.Errorf("family %v, want %v", got, want)
	}
}

func TestParseShare(t *testing.T) {
	const top = "File: x\nActive filters:\n   focus=y\nShowing nodes accounting for 0.50s, 2.54% of 19.7s total\n"
	if got, err := parseShare(top); err != nil || got < 0.0253 || got > 0.0255 {
		t.Errorf("share %v, %v", got, err)
	}
	if _, err := parseShare("what"); err == nil {
		t.Error("no error")
	}
}
