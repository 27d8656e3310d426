package peer

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	env := []byte("A=1\x00HALTON_PROJECT=x\x00HALTON_PROJECT=y\x00XHALTON_PROJECT=z\x00")
	if got := lookup(env, "HALTON_PROJECT"); got != "x" {
		t.Errorf("got %q", got)
	}
	if got := lookup(env, "HALTON"); got != "" {
		t.Errorf("a prefix of a name matches: %q", got)
	}
}

// record makes one of a kind, with the bytes at the places where XNU's
// structures have them.
func record(size int, kind uint32, at map[int][]byte) []byte {
	rec := make([]byte, round8(size))
	binary.NativeEndian.PutUint32(rec, uint32(size))
	binary.NativeEndian.PutUint32(rec[4:], kind)
	for i, b := range at {
		copy(rec[i:], b)
	}
	return rec
}

func TestOwners(t *testing.T) {
	pid := func(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
	list := slices.Concat(
		record(24, 0, nil), // struct xinpgen
		record(104, kindINPCB, map[int][]byte{18: {0x1F, 0x90}, 44: {1}, 76: {127, 0, 0, 1}}),
		record(96, kindSocket, map[int][]byte{68: pid(41)}),
		record(37, 0x004, nil), // a record of another kind and an odd length
		record(104, kindINPCB, map[int][]byte{18: {0xC0, 0x00}, 44: {1}, 76: {127, 0, 0, 1}}),
		record(96, kindSocket, map[int][]byte{68: pid(42)}),
		record(104, kindINPCB, map[int][]byte{18: {0xC0, 0x00}, 44: {2}, 64: netip.IPv6Loopback().AsSlice()}),
		record(96, kindSocket, map[int][]byte{68: pid(43)}),
	)
	for addr, want := range map[string][]int{
		"127.0.0.1:8080":  {41},
		"127.0.0.1:49152": {42},
		"[::1]:49152":     {43},
		"127.0.0.1:1":     nil,
	} {
		if got := owners(list, netip.MustParseAddrPort(addr)); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", addr, got, want)
		}
	}
	for n := range list {
		owners(list[:n], netip.MustParseAddrPort("127.0.0.1:49152")) // must not panic
	}
}

func TestSplitProcArgs(t *testing.T) {
	data := binary.NativeEndian.AppendUint32(nil, 3)
	data = append(data, "/opt/node\x00\x00\x00\x00node\x00--inspect\x00cli.js\x00HALTON_PROJECT=x\x00"...)
	exe, argv, env := splitProcArgs(data)
	if got := program(exe, argv); got != "/opt/node cli.js" {
		t.Errorf("program %q", got)
	}
	if got := lookup(env, "HALTON_PROJECT"); got != "x" {
		t.Errorf("project %q", got)
	}
	for n := range data {
		splitProcArgs(data[:n])
	}
}

func TestProgram(t *testing.T) {
	for want, args := range map[string][]string{
		"/usr/bin/curl":           {"curl", "https://example.com"},
		"/usr/bin/python3 app.py": {"python3", "-u", "app.py", "x"},
		"/usr/bin/python3 a.py":   {"python3", "-W", "ignore", "-Xdev", "-Werror::x.c", "a.py", "x"},
		"/usr/bin/python3 pytest": {"python3", "-Im", "pytest", "tests"},
		"/usr/bin/python3 -c":     {"python3", "-c", "key = 'sk-1'", "x"},
		"/usr/bin/python3.11 -c":  {"python3.11", "-Ic", "key = 'sk-1'"},
		"/usr/bin/python3.12":     {"python3.12", "-", "-W"},
		"/usr/bin/node /a/cli.js": {"node", "/a/cli.js"},
		"/usr/bin/node b.js":      {"node", "--import", "tsx", "-r", "x", "--require=y", "--", "b.js"},
		"/usr/bin/node --eval":    {"node", "--eval=key = 'sk-1'", "x"},
		"/usr/bin/node -p":        {"node", "-pe", "key"},
		"/usr/bin/node":           {},
		"/usr/bin/perl -e":        {"perl", "-ne", "key", "x"},
		"/usr/bin/perl5 -e":       {"perl5", "-e'key'", "x"},
		"/usr/bin/java Main":      {"java", "-cp", "a.jar", "Main"},
		"/usr/bin/java app.jar":   {"java", "-Xmx1g", "-jar", "app.jar"},
	} {
		exe, _, _ := strings.Cut(want, " ")
		if got := program(exe, args); got != want {
			t.Errorf("%q: got %q, want %q", args, got, want)
		}
	}
}

func TestWorkspace(t *testing.T) {
	for args, want := range map[string]string{
		"code --new-window":                                   "",
		"code --folder-uri=file:///srv/my%20shop":             "/srv/my shop",
		"code --folder-uri file:///srv/shop/":                 "/srv/shop",
		"code --folder-uri=file:///a --folder-uri=file:///a/": "/a",
		"code --folder-uri=file:///a --folder-uri=file:///b":  "",
		"code --folder-uri=vscode-remote://ssh-remote+x/a":    "",
		"code --folder-uri=file://server/a":                   "",
		"code --folder-uri=a":                                 "",
		"code --folder-uri=%zz":                               "",
		"code --folder-uris=file:///a":                        "",
		"code --folder-uri":                                   "",
	} {
		if got := workspace(strings.Fields(args)); got != want {
			t.Errorf("%s: got %q, want %q", args, got, want)
		}
	}
}

func TestLabel(t *testing.T) {
	for environ, want := range map[string]string{
		"A=b\x00":                      "",
		"VSCODE_WORKSPACE_LABEL=v\x00": "v",
		"VSCODE_WORKSPACE_LABEL=v\x00CURSOR_WORKSPACE_LABEL=c\x00": "c",
	} {
		if got := label([]byte(environ)); got != want {
			t.Errorf("%q: got %q, want %q", environ, got, want)
		}
	}
}

func FuzzOwners(f *testing.F) {
	f.Add(record(24, 0, nil))
	f.Fuzz(func(_ *testing.T, list []byte) {
		owners(list, netip.MustParseAddrPort("127.0.0.1:49152"))
		splitProcArgs(list)
	})
}
