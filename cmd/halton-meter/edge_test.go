package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// The edge depends on nothing: whatever is wrong with the state directory, it
// serves, and tunnels to where the client wants.
func TestEdgeServesInABrokenHome(t *testing.T) {
	t.Parallel()
	tests := map[string]func(t *testing.T, state string){
		"no state directory": func(*testing.T, string) {},
		"a file in its place": func(t *testing.T, state string) {
			writeFile(t, state, "not a directory")
		},
		"corrupt files": func(t *testing.T, state string) {
			for _, name := range []string{"config.toml", "effective-ports.json", "edge-counters.json", "edge-key"} {
				writeFile(t, filepath.Join(state, name), "{[broken")
			}
		},
		"directories in the place of files": func(t *testing.T, state string) {
			for _, name := range []string{"config.toml", "effective-ports.json", "edge-counters.json", "edge-key", "edge.sock", "edge.err.log"} {
				if err := os.MkdirAll(filepath.Join(state, name, "x"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
		},
		"nothing may be written": func(t *testing.T, state string) {
			if err := os.MkdirAll(state, 0o500); err != nil {
				t.Fatal(err)
			}
		},
	}
	origin := listenAndGreet(t)
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home := t.TempDir()
			spoil(t, filepath.Join(home, ".halton-meter"))
			port := freePort(t)
			cmd := exec.Command(program, "edge", "--port", strconv.Itoa(port))
			cmd.Env = []string{"HOME=" + home, "HTTPS_PROXY=http://127.0.0.1:1"}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			t.Cleanup(func() { cmd.Process.Kill() })
			conn := dialWhileItRuns(t, port, ended)
			defer conn.Close()
			fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", origin, origin)
			in := bufio.NewReader(conn)
			resp, err := http.ReadResponse(in, &http.Request{Method: http.MethodConnect})
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("CONNECT: %v, %v", resp, err)
			}
			resp.Body.Close()
			if line, err := in.ReadString('\n'); line != "hello\n" {
				t.Errorf("read %q, %v", line, err)
			}
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			conn.Close()
			if err := <-ended; err != nil {
				t.Errorf("the edge ended with %v", err)
			}
		})
	}
}

// dialWhileItRuns connects as soon as the program listens.
func dialWhileItRuns(t *testing.T, port int, ended <-chan error) net.Conn {
	t.Helper()
	for {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return conn
		}
		select {
		case err := <-ended:
			t.Fatalf("the edge ended: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// listenAndGreet is an origin that says hello to everybody.
func listenAndGreet(t *testing.T) string {
	t.Helper()
	return origin(t, func(conn net.Conn) { io.WriteString(conn, "hello\n") })
}

// origin serves each connection in a goroutine, and closes it then.
func origin(t *testing.T, serve func(net.Conn)) string {
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
			go func() { serve(conn); conn.Close() }()
		}
	}()
	return ln.Addr().String()
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
