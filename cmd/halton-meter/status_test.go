package main

import (
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/meter/ledger"
)

// The rows of status in each state, and what it says of the time without
// metering.
func TestStatusRows(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.withMac()
	if rep, code := m.status(); code != exitNotInstalled || rep.Hint == "" || rep.Healthy {
		t.Errorf("nothing is set up: exit code %d, %+v", code, rep)
	}
	m.must(0, "init", "--full")
	rep, code := m.status()
	if code != 0 || !rep.Healthy || !rep.Metering.On || rep.Metering.Since == nil || rep.Hint != "" {
		t.Errorf("mode full: exit code %d, %+v", code, rep)
	}
	var names []string
	for _, c := range rep.Components {
		names = append(names, c.Name)
	}
	if got, want := strings.Join(names, ", "), "install mode, supervisor, daemon, watchdog, edge, userenv, internal listener, api listener, system proxy, sentinels"; got != want {
		t.Errorf("rows: %s", got)
	}
	if c := rep.component("system proxy"); c.State != "on" || c.Detail != "USB LAN: the edge · Wi-Fi: the edge" {
		t.Errorf("system proxy: %+v", c)
	}
	if c := rep.component("sentinels"); c.State != "consistent" || !strings.HasPrefix(c.Detail, "proxy-managed: ✓  apps-managed: ✓") {
		t.Errorf("sentinels: %+v", c)
	}

	before := time.Now().Add(-time.Second)
	m.must(0, "stop")
	rep, code = m.status()
	if code != exitNotInstalled || rep.Metering.Reason != "halton-meter stop" || rep.Metering.Since == nil || rep.Metering.Since.Before(before) {
		t.Errorf("stopped: exit code %d, metering %+v", code, rep.Metering)
	}
	m.must(0, "init", "--env-only")
	rep, _ = m.status()
	if c := rep.component("system proxy"); c.State != "off (env-only mode)" || c.Detail != "USB LAN: off · Wi-Fi: off" {
		t.Errorf("env-only: system proxy: %+v", c)
	}
	m.write(m.paths().ProxyManaged(), "127.0.0.1:8081\n")
	rep, _ = m.status()
	if c := rep.component("sentinels"); c.State != "inconsistent" {
		t.Errorf("a sentinel too many: %+v", c)
	}
}

// Every name that status --json prints is told of in its help.
func TestStatusIsDocumented(t *testing.T) {
	t.Parallel()
	help := strings.FieldsFunc(statusCmd{}.Help(), func(r rune) bool { return r != '_' && !unicode.IsLetter(r) })
	var look func(reflect.Type)
	look = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[time.Time]() || typ == reflect.TypeFor[ledger.Row]() {
			return
		}
		for field := range typ.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name != "" && !slices.Contains(help, name) {
				t.Errorf("%s.%s: the help does not tell of %q", typ, field.Name, name)
			}
			if field.IsExported() {
				look(field.Type)
			}
		}
	}
	look(reflect.TypeFor[statusReport]())
}

// Over ssh launchd has no domain for agents; that is not "not installed".
func TestNobodyIsLoggedIn(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.refuse(0)
	nobody := []string{standInNobody + "=yes"}
	r := m.haltonWith(nobody, "init")
	if r.code != exitFailed || !strings.Contains(r.err, "125") || !strings.Contains(r.err, "log in at this machine's screen") {
		t.Errorf("init: exit code %d, says %q", r.code, r.err)
	}
	m.must(0, "init")
	// Whatever the supervisor says, what meters says so itself.
	r = m.haltonWith(nobody, "status")
	if r.code != 0 || !strings.Contains(r.out, "metering on") || !strings.Contains(r.out, "warning: ") || !strings.Contains(r.out, "cannot be asked") {
		t.Errorf("status of a daemon that runs: exit code %d, says %q", r.code, r.out)
	}
	m.must(0, "stop")
	r = m.haltonWith(nobody, "status")
	if r.code != exitNotInstalled || !strings.Contains(r.out, "cannot be asked") || !strings.Contains(r.out, "hint: log in at this machine's screen") {
		t.Errorf("status: exit code %d, says %q", r.code, r.out)
	}
	r = m.haltonWith(nobody, "start")
	if r.code != exitFailed || !strings.Contains(r.err, "log in at this machine's screen") {
		t.Errorf("start: exit code %d, says %q", r.code, r.err)
	}
}

// Somebody else's meter, or anything, on the port that the edge would rather
// have is named, and the edge takes another.
func TestAnotherHasTheEdgesPort(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "init")
	port := agents.EdgePort(m.paths())
	m.must(0, "stop")
	m.must(0, "launchctl", "bootout", m.target(agents.Edge))
	ln := m.listenOn(port)
	defer ln.Close()
	rep, code := m.status()
	if c := rep.component("edge"); code != exitNotInstalled || !strings.Contains(c.Detail, "the port is held by") {
		t.Errorf("status: exit code %d, edge %+v", code, c)
	}
	if r := m.must(exitFailed, "start"); !strings.Contains(r.err, strconv.Itoa(port)) || !strings.Contains(r.err, "hint: ") {
		t.Errorf("start says %q", r.err)
	}
}

// listenOn takes a port as soon as it is free: launchctl bootout returns while
// the job still ends.
func (m *machine) listenOn(port int) (ln net.Listener) {
	m.Helper()
	m.waitFor("port "+strconv.Itoa(port)+" to be free", func() bool {
		var err error
		ln, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		return err == nil
	})
	return ln
}

// A daemon that does not hold the edge's key is healthy, and meters nothing.
func TestStatusWithoutProof(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	m.write(m.paths().EdgeKey(), strings.Repeat("ab", 32)+"\n")
	m.signal("edge", syscall.SIGKILL) // the next one reads it
	m.waitFor("the edge", func() bool { _, err := m.play(m.client(""), 0); return err == nil })
	rep, code := m.status()
	if code != exitUnhealthy || rep.Metering.On || !strings.Contains(rep.Metering.Reason, "for ours") || rep.Metering.Since == nil {
		t.Errorf("exit code %d, %+v", code, rep.Metering)
	}
	m.must(0, "stop")
	m.must(0, "start")
	if _, err := m.play(m.client(""), 0); err != nil {
		t.Error(err)
	}
	if rep, code := m.status(); code != 0 || !rep.Metering.On {
		t.Errorf("after a restart: exit code %d, %+v", code, rep.Metering)
	}
}
