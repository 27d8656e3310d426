package peer

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzDiagnosis: whatever the kernel answers, reading it does not panic, and
// what is found has an inode.
func FuzzDiagnosis(f *testing.F) {
	found := make([]byte, sizeofHeader+sizeofAnswer)
	binary.NativeEndian.PutUint16(found[4:], byFamily)
	binary.NativeEndian.PutUint32(found[sizeofHeader+68:], 7)
	f.Add(found)
	missing := make([]byte, sizeofHeader+4)
	binary.NativeEndian.PutUint16(missing[4:], unix.NLMSG_ERROR)
	binary.NativeEndian.PutUint32(missing[sizeofHeader:], ^uint32(unix.ENOENT)+1)
	f.Add(missing)
	f.Fuzz(func(t *testing.T, msg []byte) {
		var d diagnosis
		d.read(msg)
		if d.found && (d.inode == 0 || !d.asked) {
			t.Errorf("%x: %+v", msg, d)
		}
	})
}

func TestFindInodes(t *testing.T) {
	const table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
		"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1\n" +
		"   1: 0100007F:C000 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 42 1\n" +
		"   2: 0000000000000000FFFF00000100007F:C001 0000000000000000FFFF00000100007F:1F90 01 0:0 0:0 0 1000 0 43 1\n" +
		"   3: zz:1 1:1 01 0:0 0:0 0 1000 0 44 1\n   4: short\n"
	at := netip.MustParseAddrPort
	wanted := map[netip.AddrPort]bool{at("127.0.0.1:49152"): true, at("127.0.0.1:49153"): true, at("127.0.0.1:8080"): true}
	got := map[string]netip.AddrPort{}
	findInodes([]byte(table), wanted, got)
	if len(got) != 2 || got["socket:[42]"] != at("127.0.0.1:49152") || got["socket:[43]"] != at("127.0.0.1:49153") {
		t.Errorf("got %v", got)
	}
	if len(wanted) != 1 || !wanted[at("127.0.0.1:8080")] {
		t.Errorf("still wanted: %v", wanted)
	}
}
