package launchdtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haltonlabs/halton-meter/internal/process"
	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
)

const (
	// envRole turns the test binary into launchctl; see Main.
	envRole = "LAUNCHDTEST"
	// supervisorArg turns it into the supervisor.
	supervisorArg = "launchdtest-supervisor"
	// stopTimeout bounds the cleanup of a test whose jobs ignore SIGTERM.
	stopTimeout = 2 * time.Second
)

// role is what the test binary needs to know in place of a test's arguments.
type role struct {
	Dir      string
	Knobs    emulator.Knobs
	IdleExit time.Duration
	// Test and Started are the process that the supervisor ends with, also
	// if a panic or a signal keeps it from its cleanups.
	Test    int
	Started time.Time
}

// Main runs the tests of a package that uses this one; call it in TestMain.
// The test binary is also the emulator's launchctl, its supervisor, and the
// process that becomes a job; Main sees which of them is wanted.
func Main(m *testing.M) {
	emulator.XPCProxy()
	var r role
	if err := json.Unmarshal([]byte(os.Getenv(envRole)), &r); err != nil {
		os.Exit(m.Run())
	}
	if len(os.Args) == 2 && os.Args[1] == supervisorArg {
		os.Exit(r.supervise())
	}
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	l := emulator.Launchctl{Dir: r.Dir, Start: []string{self, supervisorArg}, Knobs: r.Knobs}
	os.Exit(l.Run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

func (r role) supervise() int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	go func() {
		defer stop()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for process.Lives(r.Test, r.Started) {
			<-tick.C
		}
	}()
	s := emulator.Supervisor{
		Dir: r.Dir, Knobs: r.Knobs, IdleExit: r.IdleExit, StopTimeout: stopTimeout,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if err := s.Run(ctx); err != nil && !errors.Is(err, emulator.ErrRunning) {
		slog.Error("launchd.failed", "error", err)
		return 1
	}
	return 0
}

// New gives t a client of a private emulator; see [Start].
func New(t testing.TB) *launchd.Client {
	t.Helper()
	return Start(t, emulator.Knobs{}).Client()
}

// Emulator is a private launchd for one test.
type Emulator struct {
	// Dir is where the supervisor keeps its files; its log is launchd.log.
	Dir string

	t    testing.TB
	env  []string
	self string
}

// Start gives t an emulator with these knobs. Its supervisor starts with the
// first command that needs one. At the end of the test all jobs are booted out
// and the supervisor is gone.
func Start(t testing.TB, knobs emulator.Knobs) *Emulator {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatalf("find test binary: %v", err)
	}
	// A long idle time, so that a slow test never loses its supervisor.
	r := role{Dir: t.TempDir(), Knobs: knobs, IdleExit: time.Minute, Test: os.Getpid()}
	if r.Started, err = process.StartTime(r.Test); err != nil {
		t.Fatalf("start emulator: %v", err)
	}
	value, err := json.Marshal(r)
	if err != nil {
		t.Fatalf("encode role: %v", err)
	}
	e := &Emulator{Dir: r.Dir, t: t, self: self, env: append(os.Environ(),
		envRole+"="+string(value),
		// The race detector would have each process linger for a second.
		"GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"),
	)}
	t.Cleanup(func() {
		// A job may take its whole exit timeout, twice on a busy machine.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := emulator.Stop(ctx, e.Dir); err != nil {
			t.Errorf("stop emulator: %v", err)
		}
		if log, err := os.ReadFile(filepath.Join(e.Dir, "launchd.log")); err == nil && t.Failed() {
			t.Logf("launchd.log:\n%s", log)
		}
	})
	return e
}

// Executable is what to run in place of /bin/launchctl, and Env the
// environment that it needs.
func (e *Emulator) Executable() string { return e.self }

// Client is a client that runs Executable.
func (e *Emulator) Client() *launchd.Client {
	return &launchd.Client{Command: []string{e.self}, Env: e.env}
}

// Env is the test's environment and what makes Executable act as launchctl.
func (e *Emulator) Env() []string { return e.env }

// Result is the answer to a command.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Run runs launchctl with args, as a process of its own.
func (e *Emulator) Run(args ...string) Result {
	e.t.Helper()
	return run(e.t, e.self, e.env, args)
}

func run(t testing.TB, exe string, env, args []string) Result {
	t.Helper()
	// Not the test's context, which ends before its cleanups run.
	cmd := exec.CommandContext(context.Background(), exe, args...)
	cmd.Env = env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run launchctl %s: %v", strings.Join(args, " "), err)
	}
	return Result{Code: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
}
