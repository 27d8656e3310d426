package proxyedge

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
)

func sampleRecord() *record {
	return &record{
		Version: HandoverVersion,
		Status:  Status{Counts: Counts{Metered: 3}},
		Chain:   true,
		Parcels: []*parcel{
			{Kind: kindListener, FDs: []int{3}},
			{Kind: kindClient, FDs: []int{5}, up: []byte("CONN"), Bytes: [2]int{4, 0}},
			{Kind: kindTunnel, FDs: []int{6, 7}, Host: "a", up: []byte("\x00\n"), down: []byte("d"), Bytes: [2]int{2, 1}, Up: 9, Ended: [2]bool{true, false}},
			{Kind: kindChain, FDs: []int{8, 9}, Host: "b", Port: 443, up: []byte("\x16xy"), Bytes: [2]int{3, 0}, Sent: 2, Daemon: Daemon{Proxy: "127.0.0.1:1"}},
			{Kind: kindLost, FDs: []int{10}, Host: "b", Port: 443, Reason: "r", Detail: "d"},
		},
	}
}

// written is the record as encode writes it; that one takes the descriptors
// from connections.
func written(t testing.TB, r *record) []byte {
	t.Helper()
	fds := make([][]int, len(r.Parcels))
	for i, p := range r.Parcels {
		fds[i] = p.FDs
	}
	data, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range r.Parcels {
		p.FDs = fds[i]
		list, err := json.Marshal(p.FDs)
		if err != nil {
			t.Fatal(err)
		}
		data = bytes.Replace(data, []byte(`"fds":null`), append([]byte(`"fds":`), list...), 1)
	}
	return data
}

func TestTheRecordComesBack(t *testing.T) {
	want := sampleRecord()
	got, err := decodeRecord(written(t, want))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*record{want, got} {
		for _, p := range r.Parcels {
			if len(p.up) == 0 {
				p.up = nil
			}
			if len(p.down) == 0 {
				p.down = nil
			}
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestARecordThatIsNotOurs(t *testing.T) {
	good := string(written(t, sampleRecord()))
	for name, text := range map[string]string{
		"nothing":            "",
		"garbage":            "garbage\n",
		"a newer version":    strings.Replace(good, `"version":1`, `"version":2`, 1),
		"an unknown field":   strings.Replace(good, `"version":1`, `"version":1,"more":1`, 1),
		"no parcel":          `{"version":1,"parcels":[null]}` + "\n",
		"an unknown kind":    strings.Replace(good, `"tunnel"`, `"subway"`, 1),
		"standard output":    strings.Replace(good, `"fds":[5]`, `"fds":[1]`, 1),
		"a descriptor twice": strings.Replace(good, `"fds":[6,7]`, `"fds":[6,5]`, 1),
		"one too few":        strings.Replace(good, `"fds":[6,7]`, `"fds":[6]`, 1),
		"sent unkept bytes":  strings.Replace(good, `"sent":2`, `"sent":4`, 1),
		"less than nothing":  strings.Replace(good, `"bytes":[2,1]`, `"bytes":[-2,5]`, 1),
		"cut":                good[:len(good)-1],
		"too long":           good + "x",
	} {
		if text == good {
			t.Fatalf("%s: nothing was changed", name)
		}
		if r, err := decodeRecord([]byte(text)); err == nil {
			t.Errorf("%s: read as %+v", name, r)
		}
	}
}

// Whatever stands there, what is accepted names only descriptors that are
// there once, and bytes that are there.
func FuzzRecord(f *testing.F) {
	f.Add(written(f, sampleRecord()))
	f.Add([]byte(`{"version":1,"parcels":[{"kind":"client","fds":[3],"bytes":[1,0],"ended":[false,false]}]}` + "\nx"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodeRecord(data)
		if err != nil {
			return
		}
		seen := map[int]bool{}
		for _, p := range r.Parcels {
			for _, fd := range p.FDs {
				if fd <= 2 || seen[fd] {
					t.Fatalf("descriptor %d", fd)
				}
				seen[fd] = true
			}
			if len(p.up) != p.Bytes[0] || len(p.down) != p.Bytes[1] || p.Sent > len(p.up) {
				t.Fatalf("%+v", p)
			}
		}
	})
}

// However much it is, it comes out of the pipes as it went in.
func TestStow(t *testing.T) {
	for _, size := range []int{1, 4096, 64 << 10, 64<<10 + 1, 1 << 20} {
		data := bytes.Repeat([]byte("0123456789abcdef!"), size/17+1)[:size]
		pipes, err := stow(data)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		for _, p := range pipes {
			if _, err := got.ReadFrom(p); err != nil {
				t.Fatal(err)
			}
		}
		closeFiles(pipes)
		if !bytes.Equal(got.Bytes(), data) {
			t.Errorf("%d bytes came out, %d went in", got.Len(), size)
		}
	}
}

// A child has the variable of its parent, and nothing else of it.
func TestAHandoverForAnotherProcess(t *testing.T) {
	t.Setenv(handoverEnv, "1:3")
	if in, err := Inherited(); in != nil || err != nil {
		t.Errorf("%+v, %v", in, err)
	}
	if v, ok := os.LookupEnv(handoverEnv); ok {
		t.Errorf("the variable is left: %q", v)
	}
}

// What a program that was not handed anything gets from Inherited is nil, and
// may be treated as any other.
func TestNothingInherited(t *testing.T) {
	var in *Inheritance
	in.Close()
	new(Edge).Resume(in)
	if in.Complete() {
		t.Error("nothing is complete")
	}
}
