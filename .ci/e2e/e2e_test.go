// Package e2e drives the built program with the providers' own SDKs and with
// curl, under the providers' own host names.
//
// It is a module of its own so that the SDKs stay out of the main one.
package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/internal/replay"
)

// root is the main module.
const root = "../.."

// call is one line of the main module's calls.json.
type call struct {
	File  string `json:"file"`
	Index int    `json:"index"`

	Path            string `json:"path"`
	Model           string `json:"model"`
	Stream          bool   `json:"stream"`
	InputTokens     int64  `json:"input_tokens"`
	OutputTokens    int64  `json:"output_tokens"`
	CacheReadTokens int64  `json:"cache_read_tokens"`
	CostNanoUSD     int64  `json:"cost_nano_usd"`
}

// row is what the test looks at of an exported row.
type row struct {
	ID              string `json:"id"`
	Project         string `json:"project"`
	Provider        string `json:"provider"`
	Path            string `json:"path"`
	Model           string `json:"model"`
	Stream          bool   `json:"stream"`
	Status          string `json:"status"`
	InputTokens     int64  `json:"input_tokens"`
	OutputTokens    int64  `json:"output_tokens"`
	CacheReadTokens int64  `json:"cache_read_tokens"`
	CostNanoUSD     *int64 `json:"cost_nano_usd"`
}

type machine struct {
	*testing.T
	program string
	home    string
	env     []string
}

func (m *machine) halton(args ...string) (stdout string, code int) {
	m.Helper()
	cmd := exec.Command(m.program, args...)
	cmd.Env, cmd.Dir = m.env, m.home
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.Fatal(err)
	}
	if code = cmd.ProcessState.ExitCode(); code != 0 {
		m.Logf("halton-meter %s: exit code %d\n%s%s", strings.Join(args, " "), code, out.String(), errs.String())
	}
	return out.String(), code
}

func (m *machine) must(args ...string) string {
	m.Helper()
	out, code := m.halton(args...)
	if code != 0 {
		m.FailNow()
	}
	return out
}

func (m *machine) export() []row {
	m.Helper()
	var rows []row
	dec := json.NewDecoder(strings.NewReader(m.must("export", "--format", "jsonl")))
	for dec.More() {
		var r row
		if err := dec.Decode(&r); err != nil {
			m.Fatal(err)
		}
		rows = append(rows, r)
	}
	return rows
}

// build builds a command of this or of the main module.
func build(t *testing.T, dir, pkg string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-o", out, pkg)
	cmd.Dir = dir
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, msg)
	}
	return out
}

func loadCalls(t *testing.T) ([]call, []replay.Recording) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "cmd/halton-meter/testdata/calls.json"))
	if err != nil {
		t.Fatal(err)
	}
	var calls []call
	if err := json.Unmarshal(data, &calls); err != nil {
		t.Fatal(err)
	}
	var recs []replay.Recording
	for _, c := range calls {
		all := replay.Load(t, filepath.Join(root, "meter/provider/testdata/recordings", c.File))
		recs = append(recs, all[c.Index])
	}
	return calls, recs
}

// newMachine is a fresh HOME beside an upstream that replays recordings.
func newMachine(t *testing.T, recs []replay.Recording) (*machine, *replay.Server) {
	t.Helper()
	m := &machine{T: t, program: build(t, root, "./cmd/halton-meter"), home: t.TempDir()}
	m.env = []string{"HOME=" + m.home, "PATH=" + os.Getenv("PATH")}
	upstream, config := startUpstream(t, recs, "api.anthropic.com", "api.openai.com")
	state := filepath.Join(m.home, ".halton-meter")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	config = fmt.Sprintf("[upstream]\nca_file = %q\n", upstream.CAFile) + config
	if err := os.WriteFile(filepath.Join(state, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "darwin" {
		// Never this user's own launchd: the labels are those of the product.
		launchctl := filepath.Join(t.TempDir(), "launchctl")
		script := fmt.Sprintf("#!/bin/sh\nexec %q launchctl \"$@\"\n", filepath.Join(state, "bin", "halton-meter"))
		if err := os.WriteFile(launchctl, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		m.env = append(m.env, "HALTON_METER_LAUNCHCTL="+launchctl)
	}
	t.Cleanup(func() { m.halton("uninstall", "--purge", "--include-logs", "--yes") })
	m.must("start")
	return m, upstream
}

// Every recording through an SDK or curl: the client reads the recorded
// bytes, and the ledger has its row, with the recorded usage and its cost.
func TestRealClients(t *testing.T) {
	calls, recs := loadCalls(t)
	m, _ := newMachine(t, recs)
	sdk := build(t, ".", "./sdkclient")
	for i, c := range calls {
		for _, client := range clients(t, sdk, i, c, recs[i]) {
			before := len(m.export())
			got := m.must(append([]string{"run", "--project", "acme", "--"}, client...)...)
			if got != recs[i].ResponseBody {
				t.Errorf("%s #%d with %s: read %d bytes, recorded are %d", c.File, c.Index, client[0], len(got), len(recs[i].ResponseBody))
			}
			rows := m.export()
			if len(rows) != before+1 {
				t.Fatalf("%s #%d with %s: %d new rows", c.File, c.Index, client[0], len(rows)-before)
			}
			r := rows[len(rows)-1]
			if r.Project != "acme" || r.Status != "success" || r.Model != c.Model || r.Path != c.Path ||
				r.InputTokens != c.InputTokens || r.OutputTokens != c.OutputTokens || r.CacheReadTokens != c.CacheReadTokens ||
				r.CostNanoUSD == nil || *r.CostNanoUSD != c.CostNanoUSD {
				t.Errorf("%s #%d with %s: row %+v, want %+v", c.File, c.Index, client[0], r, c)
			}
		}
	}
	checkNoSecrets(t, m)
}

// clients are the commands that make the call: the provider's SDK, where the
// recording is of a call that it makes, and curl.
func clients(t *testing.T, sdk string, i int, c call, rec replay.Recording) [][]string {
	t.Helper()
	body := filepath.Join(t.TempDir(), "body.json")
	if err := os.WriteFile(body, []byte(rec.RequestBody), 0o600); err != nil {
		t.Fatal(err)
	}
	curl := []string{"curl", "-sS", "--no-buffer", "-X", rec.Method, "-H", replay.Header + ": " + strconv.Itoa(i), rec.URL}
	if rec.RequestBody != "" {
		curl = append(curl, "-H", "Content-Type: application/json", "--data-binary", "@"+body)
	}
	commands := [][]string{curl}
	api := map[string]string{"/v1/messages": "anthropic", "/v1/chat/completions": "chat", "/v1/responses": "responses"}[c.Path]
	if api != "" {
		form := "json"
		if c.Stream {
			form = "stream"
		}
		commands = append(commands, []string{sdk, api, form, c.Model, strconv.Itoa(i)})
	}
	return commands
}

// checkNoSecrets looks for what the clients sent in everything that the
// program wrote.
func checkNoSecrets(t *testing.T, m *machine) {
	t.Helper()
	err := filepath.WalkDir(m.home, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, planted := range []string{"planted prompt", "planted-key"} {
			if bytes.Contains(data, []byte(planted)) {
				t.Errorf("%s holds %q", path, planted)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// An SDK call every 50 ms while the daemon is killed: none fails.
func TestKilledDaemonUnderAnSDK(t *testing.T) {
	calls, recs := loadCalls(t)
	m, upstream := newMachine(t, recs)
	sdk := build(t, ".", "./sdkclient")
	one := append([]string{"run", "--"}, clients(t, sdk, 0, calls[0], recs[0])[1]...)
	m.must(one...)
	pid := daemonPID(t, m)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	const total, killAt = 20, 5
	for n := range total {
		if n == killAt {
			if err := exec.Command("kill", "-9", strconv.Itoa(pid)).Run(); err != nil {
				t.Fatal(err)
			}
		}
		<-tick.C
		m.must(one...)
	}
	if got := len(upstream.Seen()); got != total+1 {
		t.Errorf("the provider saw %d calls, want %d", got, total+1)
	}
	if _, code := m.halton("status"); code != 4 {
		t.Errorf("status: exit code %d, want 4", code)
	}
	if rows := len(m.export()); rows != killAt+1 {
		t.Errorf("%d rows, want %d", rows, killAt+1)
	}
	m.must("start")
	m.must(one...)
	if rows := len(m.export()); rows != killAt+2 {
		t.Errorf("%d rows after the start, want %d", rows, killAt+2)
	}
}

func daemonPID(t *testing.T, m *machine) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(m.home, ".halton-meter", "effective-ports.json"))
	if err != nil {
		t.Fatal(err)
	}
	var rec struct{ PID int }
	if err := json.Unmarshal(data, &rec); err != nil || rec.PID == 0 {
		t.Fatalf("no pid in %s: %v", data, err)
	}
	return rec.PID
}
