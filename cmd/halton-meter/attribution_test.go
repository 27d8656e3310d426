package main

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/haltonlabs/halton-meter/internal/replay"
	"github.com/haltonlabs/halton-meter/portalloc"
)

// The variables that tell the client what to send.
const (
	clientURL    = "CLIENT_URL"
	clientHeader = "CLIENT_HEADER" // lines of "name: value"
	clientBody   = "CLIENT_BODY"
)

// clientMain is a program that makes one call, with proxy and roots from its
// environment as "run" sets them, and writes the answer to standard output. It
// ends with its standard input.
func clientMain() error {
	pem, err := os.ReadFile(os.Getenv("SSL_CERT_FILE"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true,
	}}
	url := cmp.Or(os.Getenv(clientURL), "https://api.anthropic.com/v1/messages")
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(cmp.Or(os.Getenv(clientBody), `{"model":"x"}`)))
	if err != nil {
		return err
	}
	req.Header.Set(replay.Header, "0")
	for line := range strings.Lines(os.Getenv(clientHeader)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(os.Stdout, resp.Body); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// answered runs a client, which must get the provider's answer. A metered one
// lives until its call is booked, as real ones do: this provider answers
// sooner than a busy machine looks through its processes, and who has gone
// cannot be found.
func (m *machine) answered(cmd *exec.Cmd, metered bool) {
	m.Helper()
	booked := func() int {
		data, _ := os.ReadFile(m.paths().In("daemon.err.log"))
		return bytes.Count(data, []byte(`"event":"intercept.complete"`))
	}
	before := booked()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	stdin, err := cmd.StdinPipe()
	if err != nil {
		m.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		m.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if metered {
		m.waitFor("the row of a call", func() bool { return booked() > before || len(ended) > 0 })
	}
	stdin.Close()
	if err := <-ended; err != nil || out.String() != m.provider.Recordings[0].ResponseBody {
		m.Fatalf("%v: %v\n%s%s", cmd.Args, err, errs.String(), m.logs())
	}
}

// Real programs in five directories: each call is on the project that its
// directory, its environment or its proxy URL says, also after the daemon was
// away for some of them.
func TestAttribution(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tool := filepath.Join(t.TempDir(), "client")
	if err := os.Symlink(self, tool); err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	dir := func(elem ...string) string {
		d := filepath.Join(append([]string{work}, elem...)...)
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		return d
	}
	repo := dir("Shop.API", "src")
	if out, err := exec.Command("git", "init", "-q", filepath.Dir(repo)).CombinedOutput(); err != nil {
		t.Fatalf("git init: %v\n%s", err, out)
	}
	rc := dir("rc", "deep", "er")
	m.write(filepath.Join(work, "rc", ".haltonrc"), "# ours\nproject = \"billing\"\n")
	plain := dir("just-a-dir")
	cases := []struct {
		dir             string
		env             []string
		args            []string
		project, source string
	}{
		{plain, nil, nil, "just-a-dir", "workdir"},
		{repo, nil, nil, "shop-api", "git"},
		{rc, nil, nil, "billing", "rcfile"},
		{rc, []string{"HALTON_PROJECT=env-wins"}, nil, "env-wins", "env"},
		{repo, []string{"HALTON_PROJECT=no"}, []string{"--project", "team:acme/web"}, "team:acme/web", "proxy_url"},
	}
	m.must(0, "start")
	call := func(i int, metered bool) {
		t.Helper()
		c := cases[i]
		cmd := exec.Command(program, append(append([]string{"run"}, c.args...), "--", tool)...)
		cmd.Dir, cmd.Env = c.dir, append(append([]string{}, m.env...), c.env...)
		m.answered(cmd, metered)
	}
	check := func(from int) {
		t.Helper()
		rows := m.export()
		if len(rows) != from+len(cases) {
			t.Fatalf("%d rows, want %d", len(rows), from+len(cases))
		}
		for i, row := range rows[from:] {
			if c := cases[i]; row.Project != c.project || row.ProjectSource != c.source {
				t.Errorf("call %d: %s by %s, want %s by %s", i, row.Project, row.ProjectSource, c.project, c.source)
			}
		}
	}
	for i := range cases {
		call(i, true)
	}
	check(0)

	rec, err := portalloc.ReadRecord(m.paths().Ports())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(rec.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	call(0, false)
	call(1, false)
	m.must(0, "start")
	for i := range cases {
		call(i, true)
	}
	check(len(cases))
}

func exitWith(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
