package peer_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/attribution/peer"
)

// clientOf makes this test binary a client of the address, until its standard
// input ends.
const clientOf = "PEER_TEST_CLIENT_OF"

func TestMain(m *testing.M) {
	addr := os.Getenv(clientOf)
	if addr == "" {
		os.Exit(m.Run())
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	io.Copy(io.Discard, os.Stdin)
}

func Example() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ln.Close()
	nobody := netip.MustParseAddrPort("127.0.0.1:1")
	var p peer.Process
	p, err = peer.Find(nobody)
	fmt.Println(p.Dir == "", errors.Is(err, peer.ErrUnknown))
	// Output: true true
}

// A real client in another directory, over IPv4 and over IPv6.
func TestFind(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0", "[::]:0"} {
		t.Run(listen, func(t *testing.T) {
			ln, err := net.Listen("tcp", listen)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			_, port, _ := net.SplitHostPort(ln.Addr().String())
			host := "127.0.0.1"
			if listen == "[::1]:0" {
				host = "::1"
			}
			dir, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			client := exec.Command(os.Args[0])
			client.Dir = dir
			client.Env = []string{clientOf + "=" + net.JoinHostPort(host, port), "HALTON_PROJECT=billing"}
			stdin, err := client.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := client.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { stdin.Close(); client.Wait() }()
			conn, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()

			got, err := peer.Find(conn.RemoteAddr().(*net.TCPAddr).AddrPort())
			if err != nil {
				t.Fatal(err)
			}
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			if want := (peer.Process{PID: client.Process.Pid, Dir: dir, Project: "billing", Program: self}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestFindNobody(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, addr := range []netip.AddrPort{
		{},
		netip.MustParseAddrPort("127.0.0.1:1"),
		netip.MustParseAddrPort("192.0.2.1:443"),
		ln.Addr().(*net.TCPAddr).AddrPort(), // listens, and is nobody's client
	} {
		if p, err := peer.Find(addr); !errors.Is(err, peer.ErrUnknown) {
			t.Errorf("%s: got %+v, %v", addr, p, err)
		}
	}
}
