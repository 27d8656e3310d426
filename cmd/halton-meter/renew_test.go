package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
)

// An init that was cut off behind the program's replacement leaves a daemon of
// the old one. The next init has nothing to replace, and renews it all the same.
func TestAnUpgradeThatWasCutOff(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "init")
	before, _ := m.status()
	for _, note := range []string{`["com.haltonlabs.meter"]`, `["com.haltonlabs.meter", "com.haltonlabs.meter.watchdog", "com.example.theirs"]`} {
		m.write(m.paths().In("outdated-jobs.json"), note)
		if r := m.must(0, "init"); !strings.Contains(r.out, "restarted") {
			t.Errorf("init says %s", r.out)
		}
		after, _ := m.status()
		if was, is := before.component("daemon").PID, after.component("daemon").PID; was == is {
			t.Errorf("the daemon is process %d still", is)
		}
		if _, err := os.Stat(m.paths().In("outdated-jobs.json")); !os.IsNotExist(err) {
			t.Errorf("the note is left: %v", err)
		}
		before = after
	}
	if r := m.must(0, "init"); strings.Contains(r.out, "restarted") {
		t.Errorf("with nothing to renew, init says %s", r.out)
	}
}

// A proxy that is gone, as a company's is at home, fails no program: new ones
// run without the meter, and once it is forgotten edge and daemon go directly.
func TestTheUsersProxyIsGone(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	real := m.forgetProxy()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := "http://" + ln.Addr().String()
	if r := m.haltonWith([]string{"HTTPS_PROXY=" + gone}, "init"); r.code != 0 {
		t.Fatalf("init: %s", r.err)
	}
	ln.Close()

	if r := m.must(0, "init"); !strings.Contains(r.out, gone+" does not answer") || !strings.Contains(r.out, "rm "+m.paths().Upstream()) {
		t.Errorf("init says %s", r.out)
	}
	if r := m.must(0, "env"); r.out != "" {
		t.Errorf("env says %q", r.out)
	}
	r := m.must(0, "run", "--", "sh", "-c", "echo $HTTPS_PROXY")
	if r.out != "\n" || !strings.Contains(r.err, "unmetered") || !strings.Contains(r.err, gone) {
		t.Errorf("run: %q, %q", r.out, r.err)
	}
	rep, _ := m.status()
	if got := strings.Join(rep.Warnings, "\n"); !strings.Contains(got, gone+" does not answer") {
		t.Errorf("status warns of %q", got)
	}
	before := rep

	// Another network, another proxy.
	if err := os.Remove(m.paths().Upstream()); err != nil {
		t.Fatal(err)
	}
	m.swap(m.paths().Config(), func(conf string) string { return conf + fmt.Sprintf("proxy = %q\n", real) })
	m.must(0, "init")
	if _, err := m.play(m.client(""), 0); err != nil {
		t.Errorf("a call: %v", err)
	}
	if m.tunnels() == 0 || len(m.export()) != 1 {
		t.Errorf("%d tunnels through %s, %d rows", m.tunnels(), real, len(m.export()))
	}
	after, _ := m.status()
	if was, is := before.component("edge").PID, after.component("edge").PID; was != is {
		t.Errorf("the edge was process %d and is %d", was, is)
	}
	if was, is := before.component("daemon").PID, after.component("daemon").PID; was == is {
		t.Error("the daemon was not renewed")
	}
	if len(after.Warnings) != 0 {
		t.Errorf("status warns of %q", after.Warnings)
	}
	if agents.Outdated(m.paths()) != nil {
		t.Error("something is outdated")
	}
}
