// Package e2e drives the built program with the providers' own SDKs and with
// other real clients, under the providers' own host names.
//
// It is a module of its own so that the SDKs stay out of the main one.
package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/internal/replay"
)

// Every recording through the SDKs and curl: the client reads the recorded
// bytes, and the ledger has its row, with the recorded usage and its cost.
func TestRealClients(t *testing.T) {
	calls, recs := loadCalls(t)
	m, _ := newMachine(t, recs)
	sdk := build(t, ".", "./sdkclient")
	for i, c := range calls {
		for _, client := range clients(t, sdk, i, c, recs[i]) {
			before := len(m.export())
			got := m.command(m.home, nil, append([]string{m.program, "run", "--project", "acme", "--"}, client...))
			if got != recs[i].ResponseBody {
				t.Errorf("%s #%d with %s: read %d bytes, recorded are %d", c.File, c.Index, client[0], len(got), len(recs[i].ResponseBody))
			}
			rows := m.export()
			if len(rows) != before+1 {
				t.Fatalf("%s #%d with %s: %d new rows", c.File, c.Index, client[0], len(rows)-before)
			}
			want := c
			if client[0] == node(t) { // its Google SDK calls v1
				want.Path = strings.Replace(c.Path, "/v1beta/", "/v1/", 1)
			}
			want.check(t, rows[len(rows)-1], "acme")
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
	if args := sdkArguments(i, c); args != nil {
		commands = append(commands, append([]string{sdk}, args...), append([]string{node(t), script(t, "node/sdk.mjs")}, args...))
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
	pid, _ := m.ports()
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
	m.must("start") // what the journal has by now gets its rows
	m.must(one...)
	if rows := len(m.export()); rows != killAt+2 {
		t.Errorf("%d rows after the start, want %d", rows, killAt+2)
	}
}
