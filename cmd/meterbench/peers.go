package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// peer is another program that does part of what the product does.
type peer struct {
	name    string
	program string
	pkg     string // the Debian package
	// intercepts: it terminates TLS.
	intercepts bool
	start      func(ctx context.Context, w *workshop, program, dir, addr string, o *origin) (contender, error)
}

var peers = []peer{
	{name: "tinyproxy", program: "tinyproxy", pkg: "tinyproxy-bin", start: startTinyproxy},
	{name: "squid", program: "squid", pkg: "squid", start: startSquid},
	{name: "haproxy", program: "haproxy", pkg: "haproxy", start: startHaproxy},
	{name: "mitmproxy", program: "mitmdump", pkg: "mitmproxy", intercepts: true, start: startMitmproxy},
}

// errMissing: the peer is not installed.
var errMissing = errors.New("not installed")

// find looks for the program where daemons are installed too.
func (p peer) find() (string, error) {
	if path, err := exec.LookPath(p.program); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, p.program)); err == nil {
			return path, nil
		}
	}
	return "", errMissing
}

// run starts the peer on a free port.
func (p peer) run(ctx context.Context, w *workshop, o *origin) (contender, error) {
	program, err := p.find()
	if err != nil {
		return contender{}, err
	}
	dir, err := w.folder(p.name)
	if err != nil {
		return contender{}, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // squid gives up root's rights
		return contender{}, err
	}
	port, err := w.freePort()
	if err != nil {
		return contender{}, err
	}
	c, err := p.start(ctx, w, program, dir, fmt.Sprintf("127.0.0.1:%d", port), o)
	c.name = p.name
	return c, err
}

// runPeers starts those among names that do the kind of work, and says which
// are missing.
func (b *bench) runPeers(ctx context.Context, t *table, intercepts bool) []contender {
	var all []contender
	var missing []string
	for _, p := range peers {
		if p.intercepts != intercepts || !slices.Contains(b.peers, p.name) {
			continue
		}
		c, err := p.run(ctx, b.workshop, b.origin)
		switch {
		case errors.Is(err, errMissing):
			missing = append(missing, fmt.Sprintf("%s (apt-get install %s)", p.name, p.pkg))
		case err != nil:
			t.note("%s did not start: %v", p.name, err)
		default:
			all = append(all, c)
		}
	}
	if len(missing) > 0 {
		t.note("Missing: %s.", strings.Join(missing, ", "))
	}
	return all
}

func tinyproxyConfig(addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	return fmt.Sprintf(`Port %s
Listen %s
Timeout 3600
MaxClients 20000
LogLevel Critical
Allow 127.0.0.1
DisableViaHeader Yes
`, port, host)
}

func startTinyproxy(ctx context.Context, w *workshop, program, dir, addr string, o *origin) (contender, error) {
	file, err := write(dir, "tinyproxy.conf", tinyproxyConfig(addr))
	if err != nil {
		return contender{}, err
	}
	pids, err := w.spawn(ctx, addr, program, "-d", "-c", file)
	return contender{addr: addr, connect: true, target: o.Address, pids: pids}, err
}

func squidConfig(addr string) string {
	return fmt.Sprintf(`http_port %s
http_access allow all
cache deny all
cache_mem 0 MB
access_log none
cache_log /dev/null
cache_store_log none
netdb_filename none
pinger_enable off
pid_filename none
coredump_dir none
max_filedescriptors 16384
shutdown_lifetime 0 seconds
read_timeout 1 hour
client_lifetime 1 day
`, addr)
}

func startSquid(ctx context.Context, w *workshop, program, dir, addr string, o *origin) (contender, error) {
	file, err := write(dir, "squid.conf", squidConfig(addr))
	if err != nil {
		return contender{}, err
	}
	pids, err := w.spawn(ctx, addr, program, "-N", "-f", file)
	return contender{addr: addr, connect: true, target: o.Address, pids: pids}, err
}

func haproxyConfig(addr, origin string) string {
	return fmt.Sprintf(`global
  maxconn 8000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen relay
  bind %s
  server origin %s
`, addr, origin)
}

func startHaproxy(ctx context.Context, w *workshop, program, dir, addr string, o *origin) (contender, error) {
	file, err := write(dir, "haproxy.cfg", haproxyConfig(addr, o.Address))
	if err != nil {
		return contender{}, err
	}
	pids, err := w.spawn(ctx, addr, program, "-db", "-f", file)
	return contender{addr: addr, pids: pids}, err
}

// mitmproxyArguments make it pass bodies on as they come, keep nothing, and
// reach the origin as the daemon does.
func mitmproxyArguments(dir, addr, origin, ca string) []string {
	host, port, _ := net.SplitHostPort(addr)
	return []string{
		"-q", "--listen-host", host, "--listen-port", port,
		"--mode", "upstream:http://" + origin,
		"--set", "confdir=" + dir,
		"--set", "stream_large_bodies=1",
		"--set", "connection_strategy=lazy",
		"--set", "flow_detail=0",
		"--set", "ssl_verify_upstream_trusted_ca=" + ca,
	}
}

func startMitmproxy(ctx context.Context, w *workshop, program, dir, addr string, o *origin) (contender, error) {
	pids, err := w.spawn(ctx, addr, append([]string{program}, mitmproxyArguments(dir, addr, o.Address, o.caFile)...)...)
	if err != nil {
		return contender{}, err
	}
	roots, err := trust(filepath.Join(dir, "mitmproxy-ca-cert.pem"))
	return contender{addr: addr, connect: true, target: meteredHost + ":443", trust: roots, pids: pids}, err
}

func write(dir, name, content string) (string, error) {
	file := filepath.Join(dir, name)
	return file, os.WriteFile(file, []byte(content), 0o644) //nolint:gosec // squid reads it without root's rights
}
