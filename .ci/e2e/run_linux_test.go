package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/internal/replay"
)

// outcome is what the caller of a program sees of it.
type outcome struct {
	out  string
	code int
}

// Programs end under run as they do without us, well or badly: with the meter
// up, down, and not installed.
func TestRunChangesNothing(t *testing.T) {
	calls, recs := loadCalls(t)
	m, upstream := newMachine(t, recs)
	answer := calls[0] // claude reads nothing but streams
	for _, path := range []string{"/v1/messages", "/v1/messages/count_tokens"} {
		upstream.Handle("POST "+path, messages(recs, 0))
	}
	claude := func(key string) []string {
		return []string{
			"env", "ANTHROPIC_API_KEY=" + key, "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "CLAUDE_CONFIG_DIR=" + t.TempDir(),
			claudeCode(t), "-p", "planted prompt", "--model", "claude-opus-4-7",
		}
	}
	sdk := func(form, recording string) []string {
		return []string{node(t), script(t, "node/sdk.mjs"), "chat", form, "gpt-5", recording}
	}
	chat := slices.IndexFunc(calls, func(c call) bool { return c.Path == "/v1/chat/completions" && !c.Stream })
	programs := []struct {
		name string
		argv []string
		code int
	}{
		{"claude", claude("sk-ant-api03-planted-key"), 0},
		{"claude that is refused", claude("sk-ant-api03-bad-planted-key"), 1},
		{"a Node SDK", sdk("json", strconv.Itoa(chat)), 0},
		{"a Node SDK that fails", sdk("json", "1000"), 1},
	}
	direct := []string{"SSL_CERT_FILE=" + upstream.CAFile, "NODE_EXTRA_CA_CERTS=" + upstream.CAFile}
	run := []string{m.program, "run", "--project", "acme", "--"}
	states := []struct {
		name    string
		env     []string
		prefix  []string
		prepare func()
		metered bool
	}{
		{"without us", direct, nil, func() {}, false},
		{"not installed", append([]string{"HOME=" + t.TempDir()}, direct...), run, func() {}, false},
		{"up", nil, run, func() {}, true},
		{"down", nil, run, func() { m.must("stop") }, false},
	}
	alone := map[string]outcome{}
	for _, state := range states {
		state.prepare()
		for _, p := range programs {
			before := len(m.export())
			got, errs := m.outcome(state.env, append(slices.Clone(state.prefix), p.argv...))
			if state.prefix == nil {
				alone[p.name] = got
			}
			if got != alone[p.name] || got.code != p.code {
				t.Errorf("%s, %s: %+v, want %+v with code %d\n%s", state.name, p.name, got, alone[p.name], p.code, errs)
			}
			rows := m.export()[before:]
			if want := map[bool]int{true: 1}[state.metered]; len(rows) != want {
				t.Errorf("%s, %s: %d rows: %+v", state.name, p.name, len(rows), rows)
			} else if want == 1 && p.name == "claude" {
				answer.check(t, rows[0], "acme")
			}
		}
	}
	checkNoSecrets(t, m)
}

// messages answers Anthropic's Messages API with a recording, if the key is
// good.
func messages(recs []replay.Recording, n int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("X-Api-Key"), "bad") {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest) // claude tries others again
			fmt.Fprint(w, `{"type":"error","error":{"type":"invalid_request_error","message":"no"}}`)
			return
		}
		w.Header().Set("Content-Type", recs[n].ContentType)
		_, _ = io.WriteString(w, recs[n].ResponseBody) // the client may have gone
	})
}

// claudeCode is the program of the npm package for this machine.
func claudeCode(t *testing.T) string {
	t.Helper()
	arch := map[string]string{"amd64": "x64"}[runtime.GOARCH]
	if arch == "" {
		arch = runtime.GOARCH
	}
	return script(t, "node/node_modules/@anthropic-ai/claude-code-linux-"+arch+"/claude")
}

// outcome runs a program to its end, whatever that is.
func (m *machine) outcome(env, argv []string) (outcome, string) {
	m.Helper()
	// Far longer than any of them needs; a program that hangs must show in a log.
	ctx, cancel := context.WithTimeout(m.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = m.home, append(slices.Clone(m.env), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		m.Fatal(err)
	}
	return outcome{out.String(), cmd.ProcessState.ExitCode()}, errs.String()
}
