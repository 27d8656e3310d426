package emulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haltonlabs/halton-meter/internal/filelock"
)

const (
	startTimeout = 15 * time.Second
	maxLog       = 1 << 20
)

// Launchctl is the client: it does what launchctl does with its arguments.
type Launchctl struct {
	// Dir is the supervisor's. Empty: only what needs none is answered, such as
	// help and error.
	Dir string
	// Start is the command line of a program that calls [Supervisor.Run] for
	// Dir, by absolute path. It is run when no supervisor answers and one is
	// needed; in a session of its own, with / as its directory and launchd.log
	// in Dir for its output. Empty means that none can be started.
	Start []string
	// Knobs are the supervisor's; they count for what is answered without
	// it, such as help.
	Knobs Knobs
}

// Run answers launchctl's args (without the program's name) on stdout and
// stderr, and returns the exit code.
func (l *Launchctl) Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	req, done := parseArgs(args, l.Knobs)
	if done == nil {
		done = l.answer(ctx, req, stdout)
	}
	_, _ = io.WriteString(stdout, done.Stdout)
	_, _ = io.WriteString(stderr, done.Stderr)
	return done.Code
}

func (l *Launchctl) answer(ctx context.Context, req request, stdout io.Writer) *reply {
	if l.Dir == "" {
		return &reply{Code: codeBadResponse, Stderr: "launchctl: no Dir is set\n"}
	}
	if f, is := stdout.(*os.File); is {
		req.TTY = isTerminal(f)
	}
	for i, path := range req.Paths {
		if abs, err := filepath.Abs(path); err == nil {
			req.Paths[i] = abs
		}
	}
	a, err := ask(ctx, l.Dir, req)
	if errors.Is(err, errNotGreeted) {
		if l.answerable(req) {
			return new(l.answerAlone(req))
		}
		a, err = l.startAndAsk(ctx, req)
	}
	if err != nil {
		return &reply{Code: codeBadResponse, Stderr: fmt.Sprintf("launchctl: %s\n", err)}
	}
	return &a
}

// answerable reports whether a supervisor that was just started would change
// nothing by req and know nothing about it. Then none is started: a look at
// an uninstalled product must not bring it to life.
func (l *Launchctl) answerable(req request) bool {
	switch req.Verb {
	case "bootstrap", "load", "enable", "disable", "setenv":
		return false
	case "unload":
		if req.Persist {
			return false
		}
	}
	var s savedState
	return s.load(l.Dir) == nil && s.empty()
}

func (l *Launchctl) answerAlone(req request) reply {
	var a reply
	newRegistry(&Supervisor{Dir: l.Dir, Knobs: l.Knobs}).handle(req, func(r reply) { a = r })
	return a
}

// startAndAsk starts supervisors until one answers. Two clients may do so at
// once: the lock in Dir lets one supervisor live.
func (l *Launchctl) startAndAsk(ctx context.Context, req request) (reply, error) {
	// The deadline is for the start alone: a request may take longer.
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var ended <-chan error
	var died error
	for {
		if ended == nil && died == nil {
			var err error
			if ended, err = l.start(ctx); err != nil {
				return reply{}, err
			}
		}
		a, err := ask(ctx, l.Dir, req)
		if !errors.Is(err, errNotGreeted) {
			return a, err
		}
		if died != nil {
			err = died
		}
		if died != nil || starting.Err() != nil {
			return reply{}, fmt.Errorf("start supervisor: %w; see %s", err, filepath.Join(l.Dir, logFile))
		}
		select {
		case <-starting.Done():
		case died = <-ended:
			// Perhaps because it found another one, so that one is asked
			// before this counts as a failure.
			ended = nil
		case <-tick.C:
		}
	}
}

// start runs the supervisor's program. The channel tells how it ended.
func (l *Launchctl) start(ctx context.Context) (<-chan error, error) {
	if len(l.Start) == 0 {
		return nil, errors.New("start supervisor: no command to start one is set")
	}
	if err := os.MkdirAll(l.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	path := filepath.Join(l.Dir, logFile)
	if st, err := os.Stat(path); err == nil && st.Size() > maxLog {
		_ = os.Rename(path, path+".1")
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), l.Start[0], l.Start[1:]...)
	cmd.Dir = "/"
	// The log is a help, not a condition.
	if log, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err == nil {
		defer log.Close()
		cmd.Stdout, cmd.Stderr = log, log
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	keepDescriptors()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return ended, nil
}

// keepDescriptors keeps what this process has inherited, such as a pipe that
// somebody reads to its end, from a supervisor that lives much longer. Go's own
// descriptors are close-on-exec already.
func keepDescriptors() {
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// Stop ends the supervisor in dir, if there is one, with all its jobs, and
// returns when it is gone. The jobs of one that was killed are ended too.
func Stop(ctx context.Context, dir string) error {
	path := filepath.Join(dir, lockFile)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := ask(ctx, dir, request{Verb: verbStop}); err != nil && !errors.Is(err, errNotGreeted) {
			return fmt.Errorf("stop supervisor: %w", err)
		}
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		lock, err := filelock.Try(path)
		if err == nil {
			_ = lock.Unlock()
			if err = endOrphans(ctx, dir); err == nil {
				return nil
			}
		}
		if !errors.Is(err, filelock.ErrHeld) && !errors.Is(err, ErrRunning) {
			return fmt.Errorf("stop supervisor: %w", err)
		}
		// It takes its jobs down; or another one, started at the same time,
		// has just found the lock free, and is to be asked too.
		select {
		case <-ctx.Done():
			return fmt.Errorf("stop supervisor: %w: %w", err, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// endOrphans takes the place of a supervisor that was killed for as long as it
// takes to end the jobs that it left.
func endOrphans(ctx context.Context, dir string) error {
	var s savedState
	if s.load(dir) != nil || len(s.Jobs) == 0 {
		return nil
	}
	at, cancel := context.WithCancel(context.WithoutCancel(ctx))
	cancel() // it stops as soon as it has found them
	ended := make(chan error, 1)
	go func() { ended <- (&Supervisor{Dir: dir}).Run(at) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
