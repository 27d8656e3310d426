package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/edgectl"
	"github.com/haltonlabs/halton-meter/internal/atomicfile"
)

// Another build of the program is installed again and again, under busy, idle
// and half-closed tunnels: init makes the running edge the new program, with
// the same process, and no tunnel notices.
func TestUpgradesOfTheEdge(t *testing.T) {
	t.Parallel()
	const upgrades, tunnels = 10, 50
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	before := m.edgeReport()
	edge := agents.EdgeAddress(agents.EdgePort(m.paths()))
	origin := echoing(t)

	stop := make(chan struct{})
	var running sync.WaitGroup
	ending := sync.OnceFunc(func() { close(stop); running.Wait() })
	defer ending()
	var idle []net.Conn
	for i := range tunnels {
		conn := m.tunnel(edge, origin)
		if i%4 == 0 {
			idle = append(idle, conn)
			continue
		}
		running.Go(func() { echoUntil(t, conn, uint64(i), stop) })
	}
	var fresh atomic.Int64
	hello := listenAndGreet(t)
	running.Go(func() {
		for {
			conn, err := net.Dial("tcp", edge)
			if err == nil {
				err = greeted(conn, hello)
				conn.Close()
			}
			if err != nil {
				t.Errorf("a new connection: %v", err)
				return
			}
			fresh.Add(1)
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	builds := []string{m.otherBuild(), program}
	for i := range upgrades {
		at := fresh.Load()
		m.upgrade(i, builds[i%2])
		now := m.edgeReport()
		want, err := edgectl.ProgramID(m.paths().Program())
		if err != nil || now.Program != want || now.PID != before.PID || now.UpgradedAt.IsZero() || !now.StartedAt.Before(now.UpgradedAt) {
			t.Fatalf("after upgrade %d: %+v, %v; was %+v", i, now.Self, err, before.Self)
		}
		m.waitFor("new connections", func() bool { return fresh.Load() > at+3 || t.Failed() })
	}
	if r := m.must(0, "start"); !strings.Contains(r.out, "(already up)") {
		t.Errorf("a start with nothing new: %s", r.out)
	}
	ending()
	for _, conn := range idle {
		got := make([]byte, 5)
		fmt.Fprint(conn, "hello")
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
			t.Errorf("an idle tunnel read %q, %v", got, err)
		}
	}
	after := m.edgeReport()
	// Those of the installation's own test come on top.
	if after.Passthrough < uint64(tunnels)+uint64(fresh.Load()) || after.Failed > 0 || after.Open != int64(len(idle)) {
		t.Errorf("counted %+v after %d tunnels, of which %d are open", after.Status, tunnels+fresh.Load(), len(idle))
	}
	// launchd's job was not touched.
	if svc := m.must(0, "launchctl", "print", m.edgeTarget()).out; !strings.Contains(svc, "\truns = 1\n") {
		t.Errorf("the edge's job was started again:\n%s", svc)
	}
}

// A program that cannot take over is not let to: the edge goes on, and says
// why.
func TestUpgradeToABrokenProgram(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "init")
	before := m.edgeReport()
	origin := echoing(t)
	conn := m.tunnel(agents.EdgeAddress(agents.EdgePort(m.paths())), origin)
	good, err := os.ReadFile(m.paths().Program())
	if err != nil {
		t.Fatal(err)
	}
	for name, broken := range map[string]struct {
		content string
		mode    os.FileMode
		says    string
	}{
		"not executable":       {"x", 0o600, "permission denied"},
		"no program":           {"x", 0o700, "exec format error"},
		"fails":                {"#!/bin/sh\nexit 3\n", 0o700, "exit status 3"},
		"of another time":      {"#!/bin/sh\necho 999\n", 0o700, "999"},
		"ends without a word":  {"#!/bin/sh\n", 0o700, "takes over by version"},
		"has no such argument": {"#!/bin/sh\necho usage >&2; exit 2\n", 0o700, "exit status 2"},
	} {
		if err := atomicfile.Write(m.paths().Program(), []byte(broken.content), broken.mode); err != nil {
			t.Fatal(err)
		}
		err := edgectl.Upgrade(t.Context(), m.paths().EdgeSocket(), "another")
		if err == nil || !strings.Contains(err.Error(), broken.says) {
			t.Errorf("%s: %v", name, err)
		}
		fmt.Fprint(conn, "x")
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Errorf("%s: the tunnel: %v", name, err)
		}
		if now := m.edgeReport(); now.PID != before.PID || now.Program != before.Program {
			t.Errorf("%s: %+v, was %+v", name, now.Self, before.Self)
		}
	}
	if err := atomicfile.Write(m.paths().Program(), good, 0o755); err != nil {
		t.Fatal(err)
	}
	if r := m.must(0, "start"); !strings.Contains(r.out, "upgrade") {
		t.Errorf("start: %s", r.out)
	}
}

// upgrade installs the program at path and has the edge become it: as after an
// update of the package, when the new program sets itself up; as when start
// finds it; or directly, which is quicker. On a machine that is too busy the
// edge puts it off, and does it a little later.
func (m *machine) upgrade(n int, path string) {
	m.Helper()
	said := "upgrade"
	if n == 0 {
		out, err := m.command(path, "init").CombinedOutput()
		if err != nil {
			m.Fatalf("init: %v\n%s\n%s", err, out, m.logs())
		}
		said = string(out)
	} else if err := atomicfile.Copy(m.paths().Program(), path, 0o755); err != nil {
		m.Fatal(err)
	}
	if n == 1 {
		said = m.must(0, "start").out
	}
	id, err := edgectl.ProgramID(m.paths().Program())
	if err != nil {
		m.Fatal(err)
	}
	if n > 1 {
		ctx, cancel := context.WithTimeout(m.Context(), time.Minute)
		defer cancel()
		err = edgectl.Upgrade(ctx, m.paths().EdgeSocket(), id)
	}
	if err != nil && !errors.Is(err, edgectl.ErrPostponed) || !strings.Contains(said, "upgrade") {
		m.Fatalf("%v\n%s\n%s", err, said, m.logs())
	}
	m.waitFor("the edge to be the new program", func() bool { return m.edgeReport().Program == id })
}

// otherBuild is the same program, linked anew.
func (m *machine) otherBuild() string {
	m.Helper()
	path := filepath.Join(m.TempDir(), "halton-meter")
	build := exec.Command("go", "build", "-o", path, "-ldflags", "-s", ".")
	if out, err := build.CombinedOutput(); err != nil {
		m.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// command is the program at path on this machine.
func (m *machine) command(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Env, cmd.Dir = m.env, m.home
	return cmd
}

func (m *machine) edgeReport() edgectl.Report {
	m.Helper()
	var rep edgectl.Report
	m.waitFor("the edge's report", func() bool {
		ctx, cancel := context.WithTimeout(m.Context(), time.Minute)
		defer cancel()
		var err error
		rep, err = edgectl.Ask(ctx, m.paths().EdgeSocket())
		return err == nil
	})
	return rep
}

// tunnel opens a tunnel to the origin.
func (m *machine) tunnel(edge, origin string) net.Conn {
	m.Helper()
	conn, err := net.Dial("tcp", edge)
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(5 * time.Minute))
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", origin, origin)
	const want = "HTTP/1.1 200 Connection Established\r\n\r\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		m.Fatalf("CONNECT: %q, %v", got, err)
	}
	return conn
}

// echoing is an origin that sends everything back.
func echoing(t *testing.T) string {
	t.Helper()
	return origin(t, func(conn net.Conn) { io.Copy(conn, conn) })
}

// echoUntil sends pieces of all sizes, half-closes at stop, and wants every
// byte back once, and then the end.
func echoUntil(t *testing.T, conn net.Conn, seed uint64, stop <-chan struct{}) {
	var sending sync.WaitGroup
	defer sending.Wait()
	noise := func() *rand.ChaCha8 { return rand.NewChaCha8([32]byte{byte(seed)}) }
	var sent atomic.Int64
	sending.Go(func() {
		defer conn.(*net.TCPConn).CloseWrite()
		sizes, from := rand.New(rand.NewPCG(seed, 0)), noise()
		// Paced: the machine has other things to do.
		pace := time.NewTicker(10 * time.Millisecond)
		defer pace.Stop()
		for {
			select {
			case <-stop:
				return
			case <-pace.C:
			}
			piece := make([]byte, 1+sizes.IntN(20_000))
			from.Read(piece)
			n, err := conn.Write(piece)
			sent.Add(int64(n))
			if err != nil {
				t.Errorf("tunnel %d is cut: %v", seed, err)
				return
			}
		}
	})
	want, total := noise(), int64(0)
	got, expected := make([]byte, 32<<10), make([]byte, 32<<10)
	for {
		n, err := conn.Read(got)
		want.Read(expected[:n])
		if !bytes.Equal(got[:n], expected[:n]) {
			t.Errorf("tunnel %d: other bytes behind %d", seed, total)
			conn.Close()
			return
		}
		total += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Errorf("tunnel %d is cut at %d: %v", seed, total, err)
			return
		}
	}
	sending.Wait()
	if sent.Load() != total {
		t.Errorf("tunnel %d: %d bytes sent, %d came back", seed, sent.Load(), total)
	}
}
