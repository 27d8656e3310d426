package peer_test

import (
	"net"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/attribution/peer"
)

// BenchmarkFind looks for a connection that no other process has, which is
// the dearest case: every process is asked.
func BenchmarkFind(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	own := conn.LocalAddr().(*net.TCPAddr).AddrPort()
	for b.Loop() {
		if _, err := peer.Find(own); err == nil {
			b.Fatal("found this process")
		}
	}
}
