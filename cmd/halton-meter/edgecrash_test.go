package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/launchd"
)

// While the edge is killed again and again, nobody who connects is refused,
// and everybody is served.
func TestAKilledEdgeRefusesNobody(t *testing.T) {
	t.Parallel()
	const kills = 8
	m := newMachine(t, freePorts(t))
	m.installed()
	origin := listenAndGreet(t)
	addr := agents.EdgeAddress(agents.EdgePort(m.paths()))

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var served atomic.Int64
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				if err := greetedThrough(ctx, addr, origin); err != nil {
					t.Errorf("after %d connections: %v", served.Load(), err)
					return
				}
				served.Add(1)
			}
		})
	}
	pids := map[int]bool{}
	for range kills {
		pid := m.edgePID()
		if pids[pid] {
			t.Fatalf("process %d again", pid)
		}
		pids[pid] = true
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		at := served.Load()
		m.waitFor("connections after the kill", func() bool { return served.Load() >= at+8 || t.Failed() })
	}
	stop()
	clients.Wait()
	t.Logf("%d connections over %d kills", served.Load(), kills)
}

// edgePID is the edge's process, as soon as there is one.
func (m *machine) edgePID() (pid int) {
	m.Helper()
	m.waitFor("a process of the edge", func() bool {
		svc, err := launchd.ParseService([]byte(m.must(0, "launchctl", "print", m.edgeTarget()).out))
		if err != nil {
			m.Fatal(err)
		}
		pid = svc.PID
		return pid != 0
	})
	return pid
}

func (m *machine) edgeTarget() string {
	return agents.FindSupervisor(m.paths(), func(string) string { return "" }).Target(agents.Edge).String()
}

// greetedThrough opens a tunnel to the origin. That it was cut by the very
// kill that it lived through is no failure: a new connection is what must
// never fail. So it tries until an edge's end has not come between.
func greetedThrough(ctx context.Context, edge, origin string) error {
	for {
		conn, err := net.DialTimeout("tcp", edge, time.Minute)
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		err = greeted(conn, origin)
		conn.Close()
		switch cut := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
			errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE); {
		case err == nil, ctx.Err() != nil:
			return nil
		case !cut:
			return err
		}
	}
}

func greeted(conn net.Conn, origin string) error {
	conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", origin, origin); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("CONNECT: %s", resp.Status)
	}
	line, err := in.ReadString('\n')
	if line != "hello\n" {
		return fmt.Errorf("read %q: %w", line, err)
	}
	return nil
}
