package peer_test

import (
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/attribution/peer"
)

// tool is a real client of a listener of the test's.
type tool struct {
	addr netip.AddrPort
	cmd  *exec.Cmd
	dir  string
}

// listen returns a listener for tools and the address that they connect to.
func listen(t testing.TB) (net.Listener, netip.AddrPort) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln, ln.Addr().(*net.TCPAddr).AddrPort()
}

// startTool starts a client of the listener in a directory of its own.
func startTool(t testing.TB, ln net.Listener, env ...string) tool {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Dir = dir
	cmd.Env = append([]string{clientOf + "=" + ln.Addr().String()}, env...)
	return attend(t, ln, cmd)
}

// attend starts the command, which makes a client of the listener.
func attend(t testing.TB, ln net.Listener, cmd *exec.Cmd) tool {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); cmd.Wait() })
	return tool{accept(t, ln), cmd, cmd.Dir}
}

func accept(t testing.TB, ln net.Listener) netip.AddrPort {
	t.Helper()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.RemoteAddr().(*net.TCPAddr).AddrPort()
}

// One look tells of several clients, by their own addresses only and by both
// ends, also when the server that it is told is not the one they connected to.
func TestFinder(t *testing.T) {
	ln, server := listen(t)
	a, b := startTool(t, ln, "HALTON_PROJECT=a"), startTool(t, ln)
	nobody := netip.MustParseAddrPort("127.0.0.1:1")
	ours, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	own := accept(t, ln)
	for name, at := range map[string]netip.AddrPort{
		"unknown server": {},
		"server":         server,
		"mapped server":  netip.AddrPortFrom(netip.AddrFrom16(server.Addr().As16()), server.Port()),
		"wrong server":   netip.MustParseAddrPort("127.0.0.1:9"),
		"wrong family":   netip.AddrPortFrom(netip.IPv6Loopback(), server.Port()),
	} {
		f := &peer.Finder{Server: at}
		for range 3 { // the first look for all processes, the next for the known ones
			got, err := f.Find(a.addr, nobody, b.addr, own, b.addr)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if len(got) != 2 || got[a.addr].PID != a.cmd.Process.Pid || got[b.addr].PID != b.cmd.Process.Pid {
				t.Fatalf("%s: got %+v", name, got)
			}
			if pa, pb := got[a.addr], got[b.addr]; pa.Dir != a.dir || pa.Project != "a" || pb.Dir != b.dir || pb.Project != "" {
				t.Errorf("%s: got %+v", name, got)
			}
		}
	}
	if got, err := new(peer.Finder).Find(); len(got) != 0 || err != nil {
		t.Errorf("asked for nobody: %v, %v", got, err)
	}
}

// A process that was found before and has ended is not found again.
func TestFinderForgets(t *testing.T) {
	ln, server := listen(t)
	a := startTool(t, ln)
	f := &peer.Finder{Server: server}
	if got, err := f.Find(a.addr); len(got) != 1 || err != nil {
		t.Fatalf("%v, %v", got, err)
	}
	a.cmd.Process.Kill()
	a.cmd.Wait()
	if got, err := f.Find(a.addr); len(got) != 0 || err != nil {
		t.Errorf("after its end: %v, %v", got, err)
	}
	b := startTool(t, ln)
	if got, err := f.Find(a.addr, b.addr); len(got) != 1 || got[b.addr].PID != b.cmd.Process.Pid || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

// A tool below an editor: the editor's command line names the folder, and the
// environment the label that the editor gives it.
func TestEditor(t *testing.T) {
	for name, tt := range map[string]struct {
		args            []string
		env             string
		workspace, name string
	}{
		"none": {[]string{"--type=x"}, "A=b", "", ""},
		"some": {[]string{"--folder-uri=file:///srv/my%20shop"}, "VSCODE_WORKSPACE_LABEL=shop", "/srv/my shop", "shop"},
	} {
		t.Run(name, func(t *testing.T) {
			ln, server := listen(t)
			// The shell stands for the editor: it has its arguments, and the
			// tool as its child.
			cmd := exec.Command("/bin/sh", append([]string{"-c", `"$TOOL" <&0; exit $?`, "editor"}, tt.args...)...)
			cmd.Dir = t.TempDir()
			cmd.Env = []string{clientOf + "=" + ln.Addr().String(), "TOOL=" + os.Args[0], tt.env}
			tool := attend(t, ln, cmd)
			// Without the server all connections of the machine would be read, and
			// while others come and go the kernel's list may leave one out.
			found, err := (&peer.Finder{Server: server}).Find(tool.addr)
			got, ok := found[tool.addr]
			if err != nil || !ok {
				t.Fatalf("%v, %v", found, err)
			}
			if got.PID == cmd.Process.Pid || got.Workspace != tt.workspace || got.Label != tt.name {
				t.Errorf("got %+v, want workspace %q and label %q", got, tt.workspace, tt.name)
			}
		})
	}
}

func ExampleFinder() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer ln.Close()
	client := exec.Command(os.Args[0])
	client.Dir = "/"
	client.Env = []string{clientOf + "=" + ln.Addr().String()}
	stdin, err := client.StdinPipe()
	if err != nil {
		panic(err)
	}
	if err := client.Start(); err != nil {
		panic(err)
	}
	conn, err := ln.Accept()
	if err != nil {
		panic(err)
	}
	addr := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	f := &peer.Finder{Server: ln.Addr().(*net.TCPAddr).AddrPort()}
	found, err := f.Find(addr)
	io.WriteString(os.Stdout, found[addr].Dir+"\n")
	if err != nil {
		panic(err)
	}
	conn.Close()
	stdin.Close()
	client.Wait()
	// Output: /
}
