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
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/internal/replay"
)

// root is the main module.
const root = "../.."

// providers are the names under which the upstream answers.
var providers = []string{"api.anthropic.com", "api.openai.com", "generativelanguage.googleapis.com"}

// call is a recorded exchange and what its row must say, as the main module's
// calls.json has it. Those in testdata/calls.json are of clients that only
// these tests have; their costs follow the providers' price pages.
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

// check says where a row is not the call's.
func (c call) check(t *testing.T, r row, project string) {
	t.Helper()
	if r.Project != project || r.Status != "success" || r.Model != c.Model || r.Path != c.Path || r.Stream != c.Stream ||
		r.InputTokens != c.InputTokens || r.OutputTokens != c.OutputTokens || r.CacheReadTokens != c.CacheReadTokens ||
		r.CostNanoUSD == nil || *r.CostNanoUSD != c.CostNanoUSD {
		t.Errorf("%s #%d: row %+v, want project %s and %+v", c.File, c.Index, r, project, c)
	}
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
	var calls []call
	for _, file := range []string{filepath.Join(root, "cmd/halton-meter/testdata/calls.json"), "testdata/calls.json"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var more []call
		if err := json.Unmarshal(data, &more); err != nil {
			t.Fatal(err)
		}
		calls = append(calls, more...)
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
	upstream, config := startUpstream(t, recs, providers...)
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

// ports reads what the daemon says of itself and of the edge.
func (m *machine) ports() (daemonPID, edge int) {
	m.Helper()
	data, err := os.ReadFile(filepath.Join(m.home, ".halton-meter", "effective-ports.json"))
	if err != nil {
		m.Fatal(err)
	}
	var rec struct {
		PID  int
		Edge int `json:"edge_port"`
	}
	if err := json.Unmarshal(data, &rec); err != nil || rec.PID == 0 || rec.Edge == 0 {
		m.Fatalf("no pid or port in %s: %v", data, err)
	}
	return rec.PID, rec.Edge
}
