package main

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/meter/attribution"
	"github.com/haltonlabs/halton-meter/portalloc"
)

// A fresh machine: one command sets up and starts; real exchanges pass
// byte for byte; each has its row; everything can be removed.
func TestSpine(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	before := listing(t, m.home)

	r := m.must(0, "start")
	for _, want := range []string{"set up", "✓ daemon registered", "✓ watchdog registered", agents.Watchdog, "✓ daemon healthy", "(already up)"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("start does not say %q:\n%s", want, r.out)
		}
	}
	if strings.Contains(r.out, "\x1b") {
		t.Errorf("start colours a pipe: %q", r.out)
	}
	if again := m.must(0, "start"); strings.Contains(again.out, "set up") {
		t.Errorf("a second start set up again:\n%s", again.out)
	}
	if q := m.must(0, "start", "--quiet"); strings.Count(q.out+q.err, "\n") != 1 {
		t.Errorf("start --quiet does not print one line: %q %q", q.out, q.err)
	}

	named := m.client("billing")
	unnamed := m.client("")
	for i, rec := range m.provider.Recordings {
		c := named
		if i%2 == 1 {
			c = unnamed
		}
		got, err := m.play(c, i)
		if err != nil {
			t.Fatalf("recording %d (%s): %v\n%s", i, rec.Source, err, m.logs())
		}
		if !bytes.Equal(got, rec.Body()) {
			t.Errorf("recording %d (%s): the client read %d bytes, recorded are %d", i, rec.Source, len(got), len(rec.ResponseBody))
		}
	}
	for _, seen := range m.provider.Seen() {
		for name := range seen.Header {
			if strings.HasPrefix(name, "Halton-") || strings.HasPrefix(name, "X-Forwarded") || name == "Via" || strings.HasPrefix(name, "Proxy-") {
				t.Errorf("the provider saw %s", name)
			}
		}
	}

	rows := m.export()
	if len(rows) != len(m.provider.Recordings) {
		t.Fatalf("%d rows for %d calls", len(rows), len(m.provider.Recordings))
	}
	// The unnamed calls come from this process, and so from its directory.
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	project, source := attribution.Resolver{}.Resolve(attribution.Facts{Dir: here})
	ids := map[string]bool{}
	for i, row := range rows {
		if ids[row.ID] {
			t.Errorf("row %s twice", row.ID)
		}
		ids[row.ID] = true
		if diff := m.calls[i].diff(row); diff != "" {
			t.Errorf("recording %d (%s): %s", i, m.provider.Recordings[i].Source, diff)
		}
		wantProject, wantSource := "billing", "proxy_url"
		if i%2 == 1 {
			wantProject, wantSource = project, source
		}
		if row.Project != wantProject || row.ProjectSource != wantSource {
			t.Errorf("row %d: project %s by %s, want %s by %s", i, row.Project, row.ProjectSource, wantProject, wantSource)
		}
		if row.Status != "success" || row.LatencyMS == nil || row.FirstByteMS == nil || *row.FirstByteMS > *row.LatencyMS {
			t.Errorf("row %d: %+v", i, row)
		}
	}

	rep, code := m.status()
	for name, state := range map[string]string{
		"install mode": "env-only", "daemon": "healthy", "watchdog": "running", "edge": "up", "userenv": "loaded",
		"internal listener": "bound", "api listener": "bound", "system proxy": "off", "sentinels": "consistent",
	} {
		if c := rep.component(name); c.State != state {
			t.Errorf("status: %s is %q, want %q (%s)", name, c.State, state, c.Detail)
		}
	}
	if c := rep.component("userenv"); !strings.HasSuffix(c.Detail, "exited with code 0") {
		t.Errorf("the login agent failed: %s", c.Detail)
	}
	if code != 0 || !rep.Healthy || !rep.Metering.On || rep.Traffic.Lost != 0 || rep.Traffic.Metered == 0 {
		t.Errorf("status: exit code %d, %+v", code, rep)
	}
	m.must(0, "report")

	m.must(0, "stop")
	if _, code := m.status(); code != exitNotInstalled {
		t.Errorf("status after stop: exit code %d", code)
	}
	if _, err := m.play(m.client(""), 0); err != nil {
		t.Errorf("after stop the edge does not pass traffic: %v", err)
	}
	m.must(0, "stop")
	if rows := m.export(); len(rows) != len(m.provider.Recordings) {
		t.Errorf("after stop: %d rows", len(rows))
	}

	m.must(0, "uninstall")
	if r := m.halton("start"); r.code != exitFailed || !strings.Contains(r.err, "halton-meter init") {
		t.Errorf("start after uninstall: exit code %d, %s", r.code, r.err)
	}
	m.installed()
	m.must(0, "uninstall", "--purge", "--include-logs", "--yes")
	m.waitFor("every process to end", func() bool { return len(m.processes()) == 0 })
	// The configuration was the user's, in a directory that is gone now.
	delete(before, ".halton-meter")
	delete(before, ".halton-meter/config.toml")
	for path := range listing(t, m.home) {
		if !before[path] && path != "Library" && path != "Library/LaunchAgents" {
			t.Errorf("uninstall left %s", path)
		}
	}
}

// kill -9 of the daemon in the middle of a stream of calls: no new connection
// fails, what passes unmetered is counted, and a start meters again.
func TestKilledDaemon(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	rec, err := portalloc.ReadRecord(m.paths().Ports())
	if err != nil || !rec.Live() {
		t.Fatalf("record %+v: %v", rec, err)
	}

	client := m.client("")
	client.Transport.(*http.Transport).DisableKeepAlives = true // each call a connection
	stop := make(chan struct{})
	var calls, failed int
	var during []error
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			calls++
			if _, err := m.play(client, 0); err != nil {
				failed++
				during = append(during, err)
			}
		}
	})
	seen := func() int { return len(m.provider.Seen()) }
	m.waitFor("five metered calls", func() bool { return seen() >= 5 })
	if err := syscall.Kill(rec.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	at := seen()
	m.waitFor("ten calls after the kill", func() bool { return seen() >= at+10 })
	down, code := m.status()
	if code != exitUnhealthy || down.Healthy || down.Metering.On || down.Traffic.Lost == 0 {
		t.Errorf("status after the kill: exit code %d, metering %+v, traffic %+v", code, down.Metering, down.Traffic)
	}
	if c := down.component("daemon"); c.State != "not running" || !strings.Contains(c.Detail, "Killed") {
		t.Errorf("status of the daemon: %+v", c)
	}
	m.must(0, "start")
	metered := func() uint64 { rep, _ := m.status(); return rep.Traffic.Metered }
	m0 := metered()
	m.waitFor("metered calls again", func() bool { return metered() > m0 })
	close(stop)
	wg.Wait()
	// The one connection that was open in the killed daemon may fail; every
	// later one must not.
	if failed > 1 {
		t.Errorf("%d of %d calls failed: %v", failed, calls, during)
	}
	rows := m.export()
	rep, _ := m.status()
	if len(rows)+int(rep.Traffic.Lost) < seen() {
		t.Errorf("%d rows and %d lost for %d calls", len(rows), rep.Traffic.Lost, seen())
	}
}

// What launchd does to the jobs after a crash: the edge comes back by itself,
// the daemon does not.
func TestCrashes(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	for label, want := range map[string]bool{agents.Daemon: false, agents.Edge: true} {
		data, err := os.ReadFile(m.paths().Plist(label))
		if err != nil {
			t.Fatal(err)
		}
		job, err := launchd.ParseJob(data)
		if err != nil {
			t.Fatal(err)
		}
		keep := job.KeepAlive != nil && job.KeepAlive.Always
		load := job.RunAtLoad != nil && *job.RunAtLoad
		if keep != want || load != want || (!want && (job.KeepAlive != nil || job.RunAtLoad != nil)) {
			t.Errorf("%s: KeepAlive %v, RunAtLoad %v", label, job.KeepAlive, job.RunAtLoad)
		}
	}
	rep, _ := m.status()
	edge, daemon := rep.component("edge"), rep.component("daemon")
	for _, pid := range []int{edge.PID, daemon.PID} {
		if pid == 0 {
			t.Fatalf("no pid: %+v", rep.Components)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	m.waitFor("another edge", func() bool {
		rep, _ := m.status()
		c := rep.component("edge")
		return c.State == "up" && c.PID != 0 && c.PID != edge.PID
	})
	// The supervisor has restarted the edge, so it has had its chance to
	// restart the daemon, which crashed no later.
	rep, code := m.status()
	if c := rep.component("daemon"); c.PID != 0 || code != exitUnhealthy {
		t.Errorf("the daemon came back: %+v, exit code %d", c, code)
	}
}

// With other programs on the daemon's ports it takes fallbacks, and tells.
func TestTakenPorts(t *testing.T) {
	t.Parallel()
	var edgeOnly []string
	for line := range strings.Lines(freePorts(t)) {
		if !strings.HasPrefix(line, "internal") && !strings.HasPrefix(line, "api") {
			edgeOnly = append(edgeOnly, line)
		}
	}
	for _, port := range []string{"8090", "8765"} {
		// Who holds it does not matter; it may be taken already.
		if ln, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			defer ln.Close()
		}
	}
	m := newMachine(t, strings.Join(edgeOnly, ""))
	m.must(0, "start")
	rep, _ := m.status()
	rec, err := portalloc.ReadRecord(m.paths().Ports())
	if err != nil {
		t.Fatal(err)
	}
	if got := rep.Ports["internal"]; got < 8190 || got > 8199 {
		t.Errorf("internal port %d", got)
	}
	if got := rep.Ports["api"]; got < 8865 || got > 8869 {
		t.Errorf("api port %d", got)
	}
	for name, port := range rep.Ports {
		if rec.Ports[name] != port {
			t.Errorf("%s: status says %d, the record %d", name, port, rec.Ports[name])
		}
		holder := portalloc.FindHolder(t.Context(), port)
		want := rep.component(map[string]string{"edge": "edge", "internal": "daemon", "api": "daemon"}[name]).PID
		// launchd holds the edge's port with it.
		held := name == "edge" && agents.HeldForUs(m.paths(), holder)
		if holder.PID != 0 && holder.PID != want && !held {
			t.Errorf("%s port %d is held by %+v, want process %d", name, port, holder, want)
		}
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		conn.Close()
	}
	if _, err := m.play(m.client(""), 0); err != nil {
		t.Error(err)
	}
	if rows := m.export(); len(rows) != 1 {
		t.Errorf("%d rows", len(rows))
	}
}

// Proxy variables that name a dead port, in launchd and in the shell: the
// daemon does not follow them, and start says where they are.
func TestStaleProxyVariables(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.installed()
	m.must(0, "launchctl", "setenv", "HTTPS_PROXY", "http://127.0.0.1:1")
	r := m.haltonWith([]string{"HTTPS_PROXY=http://127.0.0.1:1"}, "start")
	if r.code != 0 || !strings.Contains(r.out, "daemon healthy") {
		t.Fatalf("start: exit code %d\n%s%s", r.code, r.out, r.err)
	}
	for _, want := range []string{"HTTPS_PROXY=http://127.0.0.1:1", "launchctl getenv HTTPS_PROXY", "in this shell"} {
		if !strings.Contains(r.err, want) {
			t.Errorf("the warning does not say %q:\n%s", want, r.err)
		}
	}
	if _, err := m.play(m.client(""), 0); err != nil {
		t.Fatal(err)
	}
	if rows := m.export(); len(rows) != 1 || rows[0].Status != "success" {
		t.Errorf("rows: %+v", rows)
	}
	m.must(0, "launchctl", "unsetenv", "HTTPS_PROXY")
}

// A launchctl that answers the daemon's bootstrap with 5 three times.
func TestTransientBootstrapFailure(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.installed()
	log := m.refuse(3)
	m.must(0, "start")
	times := bootstrapTimes(t, log)
	if len(times) != 4 {
		t.Fatalf("%d bootstraps, want 4", len(times))
	}
	// The third wait is four times the first, so that a busy machine does not
	// hide it; package launchd proves the exact ones.
	if first, third := times[1]-times[0], times[3]-times[2]; third <= first {
		t.Errorf("the first wait is %d ms, and the third %d ms: they do not grow", first, third)
	}
}

// A launchctl that always answers 5: start gives up within its budget, says
// why, and leaves a complete post-mortem.
func TestPermanentBootstrapFailure(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.installed()
	m.refuse(1000)
	began := time.Now()
	r := m.must(exitFailed, "start")
	if took := time.Since(began); took > 2*agents.BootstrapBudget {
		t.Errorf("start took %s", took)
	}
	for _, want := range []string{"register daemon", "5", "Input/output error", "hint: "} {
		if !strings.Contains(r.err, want) {
			t.Errorf("the error does not say %q:\n%s", want, r.err)
		}
	}
	m.checkPostmortem()
}

// Where no edge answers, a command runs as if this program were not there.
func TestRunWithoutAnEdge(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	r := m.halton("run", "--", "sh", "-c", "echo out; echo HTTPS_PROXY=$HTTPS_PROXY; exit 7")
	if r.code != 7 || r.out != "out\nHTTPS_PROXY=\n" || strings.Count(r.err, "\n") != 1 {
		t.Errorf("exit code %d, out %q, err %q", r.code, r.out, r.err)
	}
	if r := m.halton("run", "--", "no-such-command"); r.code != 127 {
		t.Errorf("a command that is not there: exit code %d", r.code)
	}
	if r := m.halton("run"); r.code != exitUsage {
		t.Errorf("no command: exit code %d, %s", r.code, r.err)
	}
	if r := m.halton("restart"); r.code != exitUsage || !strings.Contains(r.err, "halton-meter stop && halton-meter start") {
		t.Errorf("restart: exit code %d, %s", r.code, r.err)
	}
}

// listing is every path below dir.
func listing(t *testing.T, dir string) map[string]bool {
	t.Helper()
	paths := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, path); rel != "." {
			paths[rel] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
