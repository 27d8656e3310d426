package main

import (
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/upstream"
)

// A company's proxy in the user's environment is not lost: edge and daemon go
// through it from the first command on, and no tunnel is cut for it.
func TestRunAdoptsTheUsersProxy(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	parent := m.forgetProxy()
	m.must(0, "start")
	before, _ := m.status()

	env := []string{"HTTPS_PROXY=" + parent, "NO_PROXY=internal.example"}
	r := m.haltonWith(env, "run", "--", "sh", "-c", "echo $HTTPS_PROXY $NO_PROXY")
	edge := "http://" + agents.EdgeAddress(agents.EdgePort(m.paths()))
	if want := edge + " internal.example,localhost,127.0.0.1,::1\n"; r.code != 0 || r.out != want || r.err != "" {
		t.Fatalf("run: exit code %d, %q, %q; want %q", r.code, r.out, r.err, want)
	}
	m.wantHealthyDaemon()
	if _, err := m.play(m.client(""), 0); err != nil {
		t.Fatalf("a call: %v", err)
	}
	if m.tunnels() == 0 {
		t.Error("the call did not go through the user's proxy")
	}
	if rows := m.export(); len(rows) != 1 {
		t.Errorf("%d rows", len(rows))
	}
	after, _ := m.status()
	if was, is := before.component("edge").PID, after.component("edge").PID; was != is {
		t.Errorf("the edge was process %d and is %d", was, is)
	}
	// The second time there is nothing to adopt.
	if a, err := upstream.Read(m.paths().Upstream()); err != nil || a.Proxy != parent || a.NoProxy != "internal.example" {
		t.Errorf("adopted %+v, %v", a, err)
	}
	if r := m.haltonWith(env, "run", "--", "true"); r.code != 0 || r.err != "" {
		t.Errorf("again: exit code %d, %q", r.code, r.err)
	}
}

// A proxy and roots that only GUI programs had, by launchctl setenv, are adopted
// before our variables take their place, and are back in the end.
func TestAdoptsWhatGUIProgramsHad(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.env = append(m.env, "SHELL=/bin/bash")
	parent := m.forgetProxy()
	m.must(0, "init")
	m.must(0, "launchctl", "setenv", "HTTPS_PROXY", parent)
	if m.must(0, "init"); upstreamOf(t, m) != "" {
		t.Error("mode env-only takes no variable of GUI programs, and adopts one")
	}
	m.must(0, "init", "--apps")
	if got := upstreamOf(t, m); got != parent {
		t.Errorf("adopted %q, want %q", got, parent)
	}
	if _, err := m.play(m.client(""), 0); err != nil {
		t.Errorf("a call: %v", err)
	}
	if m.tunnels() == 0 {
		t.Error("the call did not go through the user's proxy")
	}
	m.must(0, "init", "--env-only")
	if got := strings.TrimSpace(m.must(0, "launchctl", "getenv", "HTTPS_PROXY").out); got != parent {
		t.Errorf("afterwards launchd's environment has %q", got)
	}
}

// What one old shell says must not fail all others: a port that the edge has
// left, or a proxy that is gone, is not adopted.
func TestADeadProxyIsNotAdopted(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.forgetProxy()
	m.must(0, "init")
	edge := agents.EdgeAddress(agents.EdgePort(m.paths()))
	gone := "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t)))
	env := []string{"HTTPS_PROXY=" + gone}
	r := m.haltonWith(env, "run", "--", "sh", "-c", "echo $HTTPS_PROXY")
	if r.code != 0 || r.out != gone+"\n" || !strings.Contains(r.err, "does not answer") {
		t.Errorf("run: exit code %d, %q, %q", r.code, r.out, r.err)
	}
	if r := m.haltonWith(env, "init"); r.code != 0 || !strings.Contains(r.out, "does not answer: not adopted") {
		t.Errorf("init: exit code %d, %q, %q", r.code, r.out, r.err)
	}
	if got := upstreamOf(t, m); got != "" {
		t.Errorf("adopted %q", got)
	}
	if r := m.must(0, "run", "--", "sh", "-c", "echo $HTTPS_PROXY"); r.out != "http://"+edge+"\n" || r.err != "" {
		t.Errorf("another shell's run: %q, %q", r.out, r.err)
	}

	// One of the ports that an edge may have, and on which nobody is.
	old := agents.EdgeChoice(0)
	for _, port := range append(old.Fallbacks, old.Preferred) {
		if conn, err := net.Dial("tcp", agents.EdgeAddress(port)); err == nil {
			conn.Close()
			continue
		}
		env := []string{"HTTPS_PROXY=http://" + agents.EdgeAddress(port)}
		if r := m.haltonWith(env, "run", "--", "sh", "-c", "echo $HTTPS_PROXY"); r.out != "http://"+edge+"\n" || r.err != "" {
			t.Errorf("run in a shell of an older edge: %q, %q", r.out, r.err)
		}
		if r := m.haltonWith(env, "env"); !strings.Contains(r.out, "export HTTPS_PROXY=http://"+edge+"\n") {
			t.Errorf("env in a shell of an older edge: %q", r.out)
		}
		break
	}
}

// Two shells that exclude different hosts from the same proxy do not take turns
// at restarting the daemon.
func TestTwoShellsWithOneProxy(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	parent := m.forgetProxy()
	m.must(0, "init")
	pid := 0
	for i, exclude := range []string{"a.example", "b.example", "a.example", "b.example"} {
		if r := m.haltonWith([]string{"HTTPS_PROXY=" + parent, "NO_PROXY=" + exclude}, "run", "--", "true"); r.code != 0 || r.err != "" {
			t.Fatalf("run: exit code %d, %q", r.code, r.err)
		}
		m.wantHealthyDaemon()
		rep, _ := m.status()
		now := rep.component("daemon").PID
		if i >= 2 && now != pid {
			t.Errorf("run %d restarted the daemon", i+1)
		}
		pid = now
	}
}

func upstreamOf(t *testing.T, m *machine) string {
	t.Helper()
	a, err := upstream.Read(m.paths().Upstream())
	if err != nil {
		t.Fatal(err)
	}
	return a.Proxy
}

func (m *machine) wantHealthyDaemon() {
	m.Helper()
	m.waitFor("the daemon", func() bool { _, err := m.health(); return err == nil })
}

// A proxy that the meter cannot go through is left to the program.
func TestRunLeavesAProxyThatItCannotUse(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	r := m.haltonWith([]string{"ALL_PROXY=socks5://me:secret@proxy.example:1080"}, "run", "--", "sh", "-c", "echo $ALL_PROXY $HTTPS_PROXY")
	if r.code != 0 || r.out != "socks5://me:secret@proxy.example:1080\n" || !strings.Contains(r.err, "unmetered") {
		t.Errorf("exit code %d, %q, %q", r.code, r.out, r.err)
	}
	if strings.Contains(r.err, "secret") {
		t.Errorf("it tells the password: %q", r.err)
	}
}

// With base URLs a program needs no proxy and no certificate.
func TestRunWithBaseURLs(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	base := "http://" + agents.EdgeAddress(agents.EdgePort(m.paths())) + "/p/acme"
	r := m.haltonWith([]string{"OPENAI_BASE_URL=https://gateway.example/v1"}, "run", "--base-url", "--project", "acme", "--",
		"sh", "-c", "echo $ANTHROPIC_BASE_URL $OPENAI_BASE_URL $GOOGLE_GEMINI_BASE_URL $HTTPS_PROXY")
	if want := base + "/anthropic https://gateway.example/v1 " + base + "/gemini\n"; r.code != 0 || r.out != want {
		t.Errorf("exit code %d, %q, %q; want %q", r.code, r.out, r.err, want)
	}
}

// A company's root that the user's environment names verifies providers too:
// its inspecting proxy stands between them and us as before.
func TestAdoptedRootsVerifyProviders(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	conf, err := os.ReadFile(m.paths().Config())
	if err != nil {
		t.Fatal(err)
	}
	m.write(m.paths().Config(), regexp.MustCompile(`(?m)^ca_file = ".*"\n`).ReplaceAllString(string(conf), ""))
	if r := m.haltonWith([]string{"SSL_CERT_FILE=" + m.provider.CAFile}, "start"); r.code != 0 {
		t.Fatalf("start: exit code %d\n%s%s", r.code, r.out, r.err)
	}
	if _, err := m.play(m.client(""), 0); err != nil {
		t.Fatal(err)
	}
	if rows := m.export(); len(rows) != 1 || rows[0].Status != "success" {
		t.Errorf("rows %+v", rows)
	}
}

// forgetProxy takes the way to the provider out of the configuration, and
// returns it: a proxy that the user may have.
func (m *machine) forgetProxy() (proxy string) {
	m.Helper()
	conf, err := os.ReadFile(m.paths().Config())
	if err != nil {
		m.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^proxy = "(.*)"\n`)
	m.write(m.paths().Config(), line.ReplaceAllString(string(conf), ""))
	return line.FindStringSubmatch(string(conf))[1]
}
