package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/internal/replay"
	"github.com/haltonlabs/halton-meter/meter/ledger"
	"github.com/haltonlabs/halton-meter/meter/provider"
)

// program is the built program that these tests drive.
var program string

// TestMain builds the program as its users do, once. (This binary could play
// its part, but with the race detector each of the hundreds of processes takes
// seconds to start.) Under two other names this binary is a stand-in.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "launchctl":
		os.Exit(standIn())
	case "client":
		exitWith(clientMain())
	default:
		os.Exit(buildAndRun(m))
	}
}

// builtProgram names a program that is built already, for a test that runs
// itself again in other surroundings.
const builtProgram = "HALTON_METER_TEST_PROGRAM"

func buildAndRun(m *testing.M) int {
	if program = os.Getenv(builtProgram); program != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "halton-meter-test")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "halton-meter")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build the program:", err)
		return 1
	}
	if err := os.Setenv(builtProgram, program); err != nil {
		panic(err)
	}
	return m.Run()
}

// machine is a fresh HOME with a provider that replays recordings, on which
// the real program runs with real processes.
type machine struct {
	*testing.T
	home     string
	calls    []call
	provider *replay.Server
	tunnels  func() int
	env      []string
}

// newMachine makes one; config is added to its config.toml, and hosts to those
// that the provider serves. At the end of the test everything that ran on it is
// gone.
func newMachine(t *testing.T, config string, hosts ...string) *machine {
	t.Helper()
	m := &machine{T: t, home: t.TempDir(), calls: loadCalls(t)}
	var recs []replay.Recording
	for _, c := range m.calls {
		recs = append(recs, c.recording)
	}
	m.provider = replay.Start(t, "127.0.0.1:0", recs, append(provider.Hosts(), hosts...)...)
	parent, tunnels := m.provider.ParentProxy(t)
	m.tunnels = tunnels
	// Nothing of this shell's environment may reach the machine.
	m.env = []string{"HOME=" + m.home, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + t.TempDir()}
	if runtime.GOOS == "darwin" {
		// Never this user's own launchd: the labels are those of the product.
		m.refuse(0)
	}
	m.write(m.paths().Config(), config+fmt.Sprintf("\n[upstream]\nca_file = %q\nproxy = %q\n", m.provider.CAFile, parent))
	t.Cleanup(m.tearDown)
	return m
}

// freePorts pins the three ports to free ones.
func freePorts(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("[daemon]\nedge_port = %d\ninternal_port = %d\napi_port = %d\n", freePort(t), freePort(t), freePort(t))
}

// freePort is a port that is free, outside the range from which the kernel
// gives ports to others, and stays bound to nobody until the test uses it. Of
// the tests in this process, each gets its own.
func freePort(t *testing.T) int {
	t.Helper()
	for {
		port := 15000 + int(nextPort.Add(1))%15000
		ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			ln.Close()
			return port
		}
	}
}

// nextPort begins anywhere, for the sake of another run of these tests beside
// this one.
var nextPort = func() *atomic.Int64 {
	var n atomic.Int64
	n.Store(rand.Int64N(15000))
	return &n
}()

func (m *machine) paths() agents.Paths {
	return agents.Paths{Home: m.home, State: filepath.Join(m.home, ".halton-meter")}
}

func (m *machine) write(path, content string) {
	m.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		m.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		m.Fatal(err)
	}
}

// result is what a command did.
type result struct {
	code     int
	out, err string
}

// halton runs the program.
func (m *machine) halton(args ...string) result {
	m.Helper()
	return m.haltonWith(nil, args...)
}

// haltonWith runs the program with more environment.
func (m *machine) haltonWith(env []string, args ...string) result {
	m.Helper()
	return m.build(program, env, args...)
}

// build runs another build of the program.
func (m *machine) build(program string, env []string, args ...string) result {
	m.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(append([]string{}, m.env...), env...)
	cmd.Dir = m.home
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.Fatalf("halton-meter %s: %v", strings.Join(args, " "), err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// installed is an installation whose edge is up and whose daemon never ran.
func (m *machine) installed() {
	m.Helper()
	m.must(0, "init")
	m.must(0, "stop")
	if err := os.Remove(m.paths().GracefulShutdown()); err != nil {
		m.Fatal(err)
	}
}

// must runs the program and wants the exit code.
func (m *machine) must(code int, args ...string) result {
	m.Helper()
	r := m.halton(args...)
	if r.code != code {
		m.Fatalf("halton-meter %s: exit code %d, want %d\n%s%s%s", strings.Join(args, " "), r.code, code, r.out, r.err, m.logs())
	}
	return r
}

// logs is what the jobs wrote, for a failure's message.
func (m *machine) logs() string {
	var b strings.Builder
	files, _ := filepath.Glob(m.paths().In("*.log"))
	for _, f := range files {
		data, _ := os.ReadFile(f)
		if len(data) > 4000 {
			data = data[len(data)-4000:]
		}
		fmt.Fprintf(&b, "--- %s\n%s\n", filepath.Base(f), data)
	}
	return b.String()
}

// status is status --json, with its exit code.
func (m *machine) status() (statusReport, int) {
	m.Helper()
	r := m.halton("status", "--json")
	var rep statusReport
	if err := json.Unmarshal([]byte(r.out), &rep); err != nil {
		m.Fatalf("status --json: %v\n%s%s", err, r.out, r.err)
	}
	return rep, r.code
}

func (s statusReport) component(name string) component {
	for _, c := range s.Components {
		if c.Name == name {
			return c
		}
	}
	return component{}
}

// export is every row of the ledger.
func (m *machine) export() []ledger.Row {
	m.Helper()
	r := m.must(0, "export", "--format", "jsonl")
	var rows []ledger.Row
	dec := json.NewDecoder(strings.NewReader(r.out))
	for dec.More() {
		var row ledger.Row
		if err := dec.Decode(&row); err != nil {
			m.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

// client is an HTTP client in the environment that "run" gives to a command.
func (m *machine) client(project string) *http.Client {
	m.Helper()
	args := []string{"run"}
	if project != "" {
		args = append(args, "--project", project)
	}
	r := m.must(0, append(args, "--", "env")...)
	if r.err != "" {
		m.Fatalf("run said: %s", r.err)
	}
	env := map[string]string{}
	for line := range strings.Lines(r.out) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		env[name] = value
	}
	proxy, err := url.Parse(env["HTTPS_PROXY"])
	if err != nil || proxy.Host == "" {
		m.Fatalf("HTTPS_PROXY is %q", env["HTTPS_PROXY"])
	}
	bundle, err := os.ReadFile(env["SSL_CERT_FILE"])
	if err != nil {
		m.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	tr := &http.Transport{
		Proxy:             http.ProxyURL(proxy),
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
	}
	m.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

// play sends the recording's request and returns what the client reads.
func (m *machine) play(c *http.Client, i int) ([]byte, error) {
	rec := m.provider.Recordings[i]
	req, err := http.NewRequest(rec.Method, rec.URL, strings.NewReader(rec.RequestBody))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(replay.Header, strconv.Itoa(i))
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != rec.Status {
		err = fmt.Errorf("status %d, want %d: %.200s", resp.StatusCode, rec.Status, body)
	}
	return body, err
}

// tearDown removes everything, and fails the test if a process is left.
func (m *machine) tearDown() {
	if m.Failed() {
		m.Log(m.logs())
	}
	if _, err := os.Stat(m.paths().State); err == nil {
		if r := m.halton("uninstall", "--purge", "--include-logs", "--yes", "--no-graceful"); r.code != 0 {
			m.Errorf("uninstall: exit code %d\n%s%s", r.code, r.out, r.err)
		}
		// A name that purge does not know stays.
		if _, err := os.Stat(m.paths().State); err == nil {
			m.Errorf("uninstall left %q", m.files(m.paths().State))
		}
	}
	m.waitFor("every process of the machine to end", func() bool { return len(m.processes()) == 0 })
}

// files are those beneath a directory, relative to it.
func (m *machine) files(dir string) []string {
	m.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			name, _ := filepath.Rel(dir, path)
			found = append(found, name)
		}
		return err
	})
	if err != nil {
		m.Fatal(err)
	}
	return found
}

// processes are the command lines of what runs from this machine's HOME.
func (m *machine) processes() []string {
	out, err := exec.Command("ps", "-axww", "-o", "pid=,command=").Output()
	if err != nil {
		m.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, m.home) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// waitFor waits for an event of another process; the limit only ends a test
// that has failed.
func (m *machine) waitFor(what string, ok func() bool) {
	m.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			m.Fatalf("waited in vain for %s\n%s\n%s", what, strings.Join(m.processes(), "\n"), m.logs())
		}
		time.Sleep(20 * time.Millisecond)
	}
}
