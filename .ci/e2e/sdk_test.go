package e2e

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sdkArguments are what sdkclient and sdk.mjs take for a call, or nil if it is
// not one that the SDKs make.
func sdkArguments(recording int, c call) []string {
	api := map[string]string{"/v1/messages": "anthropic", "/v1/chat/completions": "chat", "/v1/responses": "responses"}[c.Path]
	if strings.HasPrefix(c.Path, "/v1beta/models/") {
		api = "gemini"
	}
	if api == "" {
		return nil
	}
	form := "json"
	if c.Stream {
		form = "stream"
	}
	return []string{api, form, c.Model, strconv.Itoa(recording)}
}

// node is Node in the version of package.json, where npm has one for this
// machine, else the machine's own.
func node(t *testing.T) string {
	t.Helper()
	arch := map[string]string{"amd64": "x64"}[runtime.GOARCH]
	if arch == "" {
		arch = runtime.GOARCH
	}
	modules, err := filepath.Abs("node/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(modules); err != nil {
		t.Fatalf("%v (npm ci --ignore-scripts, in .ci/e2e/node)", err)
	}
	pinned := filepath.Join(modules, "node-"+runtime.GOOS+"-"+arch, "bin", "node")
	if _, err := os.Stat(pinned); err == nil {
		return pinned
	}
	return "node"
}

// script is the path of a script of this module.
func script(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// command runs a client in the machine's environment and returns what it
// wrote to standard output.
func (m *machine) command(dir string, env, argv []string) string {
	m.Helper()
	// Far longer than any of them needs; a client that hangs must show in a log.
	ctx, cancel := context.WithTimeout(m.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, append(append([]string(nil), m.env...), env...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		m.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, errs.String())
	}
	return string(out)
}

// The SDKs with nothing but a base URL of the edge, as their users set it:
// they read the recorded bytes with the daemon up and down, and have rows
// while it is up.
func TestSDKsThroughBaseURLs(t *testing.T) {
	calls, recs := loadCalls(t)
	m, upstream := newMachine(t, recs)
	_, edge := m.ports()
	clients := []struct {
		name    string
		argv    []string
		gemini  string // the version of the API that its Google SDK calls
		prefix  string
		project string // "" if it is a guess: the program may end before it is looked at
	}{
		{"Go", []string{build(t, ".", "./sdkclient")}, "v1beta", "/p/web-shop", "web-shop"},
		{"Node", []string{node(t), script(t, "node/sdk.mjs")}, "v1", "", ""},
	}
	type want struct {
		call
		project string
	}
	// play makes every call with every client, and returns the rows that there
	// must be.
	play := func() (wanted []want) {
		for _, client := range clients {
			base := fmt.Sprintf("http://127.0.0.1:%d%s", edge, client.prefix)
			env := []string{
				"ANTHROPIC_BASE_URL=" + base + "/anthropic",
				"OPENAI_BASE_URL=" + base + "/openai/v1",
				"GOOGLE_GEMINI_BASE_URL=" + base + "/gemini",
			}
			for i, c := range calls {
				args := sdkArguments(i, c)
				if args == nil {
					continue
				}
				argv := append(append([]string(nil), client.argv...), args...)
				if got := m.command(m.home, env, argv); got != recs[i].ResponseBody {
					t.Errorf("%s #%d with %s: read %d bytes, recorded are %d", c.File, c.Index, client.name, len(got), len(recs[i].ResponseBody))
				}
				c.Path = strings.Replace(c.Path, "/v1beta/", "/"+client.gemini+"/", 1)
				wanted = append(wanted, want{c, client.project})
			}
		}
		return wanted
	}
	wanted := play()
	rows := m.export()
	if len(rows) != len(wanted) {
		t.Fatalf("%d rows for %d calls", len(rows), len(wanted))
	}
	for n, w := range wanted {
		w.check(t, rows[n], cmp.Or(w.project, rows[n].Project))
	}
	m.must("stop")
	play()
	if again := m.export(); len(again) != len(rows) {
		t.Errorf("%d rows after calls without a daemon, %d before", len(again), len(rows))
	}
	if asked := len(upstream.Seen()); asked != 2*len(wanted) {
		t.Errorf("the providers were asked %d times for %d calls", asked, 2*len(wanted))
	}
	checkNoSecrets(t, m)
}
