package emulator_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
)

const (
	// envJob makes the test binary a job that serves the sockets named Test.
	envJob     = "EMULATOR_TEST_JOB"
	socketName = "Test"
)

// serveAsJob returns at once in a test.
func serveAsJob() {
	switch os.Getenv(envJob) {
	case "":
		return
	case "child":
		_, err := launchd.Listeners(socketName)
		fmt.Println(kindOf(err))
		os.Exit(0)
	}
	listeners, err := launchd.Listeners(socketName)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, ln := range listeners {
		go serveOn(ln)
	}
	select {}
}

func serveOn(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go func() {
			defer conn.Close()
			command, _ := bufio.NewReader(conn).ReadString('\n')
			fmt.Fprintln(conn, obey(strings.TrimSpace(command)))
		}()
	}
}

func obey(command string) string {
	switch command {
	case "crash":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "exit":
		os.Exit(0)
	case "again":
		_, err := launchd.Listeners(socketName)
		return kindOf(err)
	case "unknown":
		_, err := launchd.Listeners("Unknown")
		return kindOf(err)
	case "child":
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envJob+"=child")
		out, err := cmd.Output()
		return fmt.Sprint(strings.TrimSpace(string(out)), " ", err)
	case "descriptors of a child":
		// Its own, and the one that ls reads /dev/fd with.
		out, err := exec.Command("/bin/sh", "-c", "exec ls /dev/fd").Output()
		return fmt.Sprint(strings.Join(strings.Fields(string(out)), ","), " ", err)
	}
	return fmt.Sprint(os.Getpid())
}

func kindOf(err error) string {
	for name, is := range map[string]error{
		"not activated": launchd.ErrNotActivated, "no such socket": launchd.ErrNoSuchSocket, "already activated": launchd.ErrAlreadyActivated,
	} {
		if errors.Is(err, is) {
			return name
		}
	}
	return fmt.Sprint(err)
}

// server is a bench whose job serves a socket.
type server struct {
	*bench
	network, address string
}

func newServer(t *testing.T, network string) *server {
	t.Helper()
	b := newBench(t, emulator.Knobs{}, "")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b.job.ProgramArguments = []string{self}
	b.job.EnvironmentVariables = map[string]string{envJob: "serve", "GORACE": "atexit_sleep_ms=0"}
	b.job.StandardErrorPath = filepath.Join(b.Dir, "job.log")
	s := &server{bench: b, network: network}
	socket := launchd.Socket{SockNodeName: "127.0.0.1", SockServiceName: &launchd.IntOrString{}}
	if network == "unix" {
		s.address = filepath.Join(filepath.Dir(b.plist), "sock")
		socket = launchd.Socket{SockPathName: s.address, SockPathMode: new(0o600)}
	}
	b.job.Sockets = map[string]launchd.OneOrMany[launchd.Socket]{socketName: launchd.One(socket)}
	return s
}

func (s *server) bootstrap() {
	s.t.Helper()
	s.bench.bootstrap()
	if s.network == "unix" {
		return
	}
	_, rest, _ := strings.Cut(s.ok("print", s.target()), "\t\t\tservice name = ")
	port, _, _ := strings.Cut(rest, "\n")
	s.address = net.JoinHostPort("127.0.0.1", port)
}

// ask connects, gives a command and returns the answer; a connection that is
// refused or reset is an error.
func (s *server) ask(command string) (string, error) {
	conn, err := net.Dial(s.network, s.address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(conn, command); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return strings.TrimSpace(string(answer)), err
}

func (s *server) mustAsk(command string) string {
	s.t.Helper()
	answer, err := s.ask(command)
	if err != nil {
		s.t.Fatalf("%s: %v", command, err)
	}
	return answer
}

func TestAConnectionStartsTheJob(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, network)
			s.bootstrap()
			if p := s.print(); p.State != "not running" || p.Runs != 0 {
				t.Fatalf("before a connection: state %q, runs %d", p.State, p.Runs)
			}
			pid := atoi(t, s.mustAsk("pid"))
			if p := s.print(); p.PID != pid || p.Runs != 1 || p.ImmediateReason != "ipc (socket)" {
				t.Fatalf("pid %d, the job says %d; runs %d, reason %q", p.PID, pid, p.Runs, p.ImmediateReason)
			}
			if again := atoi(t, s.mustAsk("pid")); again != pid {
				t.Fatalf("the second connection came to %d, not %d", again, pid)
			}
			s.ok("bootout", "--wait", s.target())
			if answer, err := s.ask("pid"); err == nil {
				t.Fatalf("after bootout %s answers", answer)
			}
			if network == "unix" {
				if _, err := os.Lstat(s.address); !errors.Is(err, fs.ErrNotExist) {
					t.Fatalf("the path is left: %v", err)
				}
			}
		})
	}
}

// While the job is down, and while it is throttled, connections wait.
func TestNobodyIsRefusedWhileTheJobIsDown(t *testing.T) {
	t.Parallel()
	s := newServer(t, "tcp")
	s.job.ThrottleInterval = new(2)
	s.bootstrap()
	first := s.mustAsk("pid")
	if _, err := s.ask("crash"); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	const clients = 50
	answers := make(chan string, clients)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			answer, err := s.ask("pid")
			answers <- fmt.Sprint(answer, err)
		})
	}
	wg.Wait()
	close(answers)
	next := <-answers
	if !strings.HasSuffix(next, "<nil>") || next == first+"<nil>" {
		t.Fatalf("after the crash of %s: %s", first, next)
	}
	for answer := range answers {
		if answer != next {
			t.Errorf("%s, another client got %s", answer, next)
		}
	}
	// It leaves by itself, and a new demand brings it back.
	s.mustAsk("exit")
	if third := s.mustAsk("pid") + "<nil>"; third == next {
		t.Error("the process that has left answers")
	}
	if p := s.print(); p.Runs != 3 {
		t.Errorf("runs %d", p.Runs)
	}
}

func TestListenersAnswersAsTheRealCallDoes(t *testing.T) {
	t.Parallel()
	s := newServer(t, "unix")
	s.bootstrap()
	for command, want := range map[string]string{
		"again":                  "already activated",
		"unknown":                "no such socket",
		"child":                  "not activated <nil>",
		"descriptors of a child": "0,1,2,3 <nil>",
	} {
		if got := s.mustAsk(command); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	if st, err := os.Stat(s.address); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode of the socket: %v, %v", st.Mode(), err)
	}
	s.mustAsk("exit")
	if got := s.mustAsk("again"); got != "already activated" {
		t.Errorf("the next process: %s", got)
	}
}

// The sockets go with a supervisor that is killed; the job that has them goes
// on to serve, and its end lets the next supervisor open them again.
func TestSocketsAfterASupervisorWasKilled(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, network)
			if network == "tcp" {
				// A port that is chosen anew each time could not be found.
				ln, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				s.address = ln.Addr().String()
				port := ln.Addr().(*net.TCPAddr).Port
				ln.Close()
				s.job.Sockets[socketName].Values[0].SockServiceName.Int = port
			}
			s.bench.bootstrap()
			pid := s.mustAsk("pid")
			old := s.supervisor()
			kill(t, old, syscall.SIGKILL)
			awaitDeath(t, old)
			if got := s.mustAsk("pid"); got != pid {
				t.Fatalf("without a supervisor %s answers, not %s", got, pid)
			}
			if p := s.print(); fmt.Sprint(p.PID) != pid {
				t.Fatalf("adopted %d, not %s", p.PID, pid)
			}
			if got := s.mustAsk("pid"); got != pid {
				t.Fatalf("under the next supervisor %s answers, not %s", got, pid)
			}
			kill(t, atoi(t, pid), syscall.SIGKILL)
			for end := time.Now().Add(patience); ; {
				got, err := s.ask("pid")
				if err == nil && got != pid {
					return
				}
				if time.Now().After(end) {
					t.Fatalf("nobody answers: %v", err)
				}
			}
		})
	}
}

func TestASocketThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	s := newServer(t, "unix")
	// A file that is no socket is not replaced.
	if err := os.WriteFile(s.address, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.bootstrap()
	s.ok("kickstart", s.target())
	p := s.until("the job has failed", func(p *launchd.Service) bool { return p.PID == 0 && p.Runs == 1 })
	if p.LastExitCode == nil || *p.LastExitCode != 1 {
		t.Fatalf("last exit %v", p.LastExitCode)
	}
	log, err := os.ReadFile(s.job.StandardErrorPath)
	if err != nil || !strings.Contains(string(log), "no such socket") {
		t.Fatalf("the job says %q, %v", log, err)
	}
	if data, err := os.ReadFile(s.address); err != nil || string(data) != "precious" {
		t.Fatalf("the file: %q, %v", data, err)
	}
	// As soon as the path is free, so is the way.
	if err := os.Remove(s.address); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); !strings.Contains(s.ok("print", s.target()), "\t\t\tactive = 1\n"); {
		if time.Now().After(end) {
			t.Fatal("the socket is never opened")
		}
	}
	s.mustAsk("pid")
}
