package peer_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/attribution/peer"
)

// BenchmarkFind looks for one connection: of nobody, where every process is
// asked; of a tool, by one end and by both; and of 20 tools at once.
func BenchmarkFind(b *testing.B) {
	ln, server := listen(b)
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	nobody := accept(b, ln)
	one := startTool(b, ln)
	many := []netip.AddrPort{nobody}
	for range 20 {
		many = append(many, startTool(b, ln).addr)
	}
	look := func(f *peer.Finder, want int, clients ...netip.AddrPort) func(*testing.B) {
		return func(b *testing.B) {
			for b.Loop() {
				if got, err := f.Find(clients...); len(got) != want || err != nil {
					b.Fatal(len(got), err)
				}
			}
		}
	}
	b.Run("nobody", look(&peer.Finder{}, 0, nobody))
	b.Run("nobody by both ends", look(&peer.Finder{Server: server}, 0, nobody))
	b.Run("one", look(&peer.Finder{}, 1, one.addr))
	b.Run("one by both ends", look(&peer.Finder{Server: server}, 1, one.addr))
	b.Run("20 processes", look(&peer.Finder{Server: server}, 20, many...))
}
