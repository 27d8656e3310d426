package proxyedge

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// envEdge makes the test binary an edge, which obeys commands on its standard
// input, a byte each, and answers with a line each.
const envEdge = "PROXYEDGE_TEST_EDGE"

func TestMain(m *testing.M) {
	if settings := os.Getenv(envEdge); settings != "" {
		if err := edgeMain(settings); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// edgeSettings is the content of envEdge.
type edgeSettings struct {
	Origin, Daemon string // addresses
	Generation     int
}

// edgeAnswer is what the edge says to a command.
type edgeAnswer struct {
	PID, Generation int
	Error, Handover string
	Addr            string
	Status          Status
	Descriptors     int
	Asleep          int
	OfAChild        string
}

func edgeMain(settings string) error {
	var s edgeSettings
	if err := json.Unmarshal([]byte(settings), &s); err != nil {
		return err
	}
	in, err := Inherited()
	answer := edgeAnswer{PID: os.Getpid(), Generation: s.Generation}
	if err != nil {
		answer.Handover = err.Error()
	}
	var ln net.Listener
	if in != nil && len(in.Listeners) > 0 {
		ln = in.Listeners[0]
	} else if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	target, err := url.Parse("http://" + s.Origin)
	if err != nil {
		return err
	}
	edge := &Edge{
		Metered: func(host string, port int) bool { return host == metered && port == 443 },
		Routes:  []Route{{Prefix: "/origin", Target: target}},
		Daemon:  func() (Daemon, error) { return Daemon{Proxy: s.Daemon}, nil },
		Probe:   func(context.Context, Daemon) error { return nil },
		Key:     func() []byte { return testKey },
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.Origin)
		},
		ProofTimeout: time.Minute, CommitTimeout: time.Minute, Grace: -1,
		lull: time.Millisecond,
	}
	edge.Resume(in)
	go edge.Serve(context.Background(), ln)
	answer.Addr = ln.Addr().String()
	tell := func(err error) error {
		answer.Error = ""
		if err != nil {
			answer.Error = err.Error()
		}
		answer.Status, answer.Descriptors, answer.Asleep = edge.Status(), descriptors(), edge.asleep()
		return json.NewEncoder(os.Stdout).Encode(answer)
	}
	if err := tell(nil); err != nil {
		return err
	}
	for command := make([]byte, 1); ; {
		if _, err := os.Stdin.Read(command); err != nil {
			return nil
		}
		err := obey(edge, s, command[0], &answer)
		if err := tell(err); err != nil {
			return err
		}
	}
}

func obey(edge *Edge, s edgeSettings, command byte, answer *edgeAnswer) error {
	s.Generation++
	next, err := json.Marshal(s)
	if err != nil {
		return err
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, envEdge+"=") })
	env = append(env, envEdge+"="+string(next))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	switch command {
	case 'u': // upgrade
		return edge.Upgrade(ctx, os.Args[0], os.Args, env)
	case 'b': // to a program that is none
		return edge.Upgrade(ctx, os.DevNull, nil, env)
	case 'h': // in haste
		cancel()
		return edge.Upgrade(ctx, os.Args[0], os.Args, env)
	case 'g': // with a record that nobody can read
		edge.exec = func(path string, argv, env []string) error {
			for i, v := range env {
				if strings.HasPrefix(v, handoverEnv+"=") {
					env[i] = handoverEnv + "=" + strconv.Itoa(os.Getpid()) + ":0,x"
				}
			}
			return syscall.Exec(path, argv, env)
		}
		return edge.Upgrade(ctx, os.Args[0], os.Args, env)
	case 'c':
		out, err := exec.Command("/bin/sh", "-c", "exec ls /dev/fd").Output()
		answer.OfAChild = strings.Join(strings.Fields(string(out)), ",")
		return err
	}
	return nil
}

// edgeProcess is an edge in a process of its own.
type edgeProcess struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Reader
	edgeAnswer
}

// startEdge starts one before an origin and a daemon.
func startEdge(t *testing.T, origin, daemon string) *edgeProcess {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	settings, err := json.Marshal(edgeSettings{Origin: origin, Daemon: daemon})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), envEdge+"="+string(settings), "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	p := &edgeProcess{t: t}
	if p.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the edge ended with %v", err)
		}
	})
	p.hear()
	return p
}

func (p *edgeProcess) hear() {
	p.t.Helper()
	line, err := p.out.ReadBytes('\n')
	if err == nil {
		p.edgeAnswer = edgeAnswer{}
		err = json.Unmarshal(line, &p.edgeAnswer)
	}
	if err != nil {
		p.t.Fatalf("the edge says %q: %v", line, err)
	}
}

// tell gives a command and hears the answer.
func (p *edgeProcess) tell(command string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, command); err != nil {
		p.t.Fatal(err)
	}
	p.hear()
}

// upgrade wants the next program to answer.
func (p *edgeProcess) upgrade() {
	p.t.Helper()
	pid, generation := p.PID, p.Generation
	// On a machine that is too busy they do not come to rest in time.
	for p.tell("u"); strings.Contains(p.Error, ErrBusy.Error()); p.tell("u") {
	}
	if p.Error != "" || p.Handover != "" || p.PID != pid || p.Generation != generation+1 {
		p.t.Fatalf("after an upgrade of process %d, generation %d: %+v", pid, generation, p.edgeAnswer)
	}
}

// connect opens a tunnel to the host, which decides whether it is chained.
func (p *edgeProcess) connect(host string) *client {
	p.t.Helper()
	c := dialClient(p.t, p.Addr)
	c.SetDeadline(time.Now().Add(5 * time.Minute)) // it lives for many upgrades
	c.send("CONNECT " + host + ":443 HTTP/1.1\r\nHost: " + host + ":443\r\n\r\n")
	c.expect(established)
	return c
}
