package emulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/haltonlabs/halton-meter/internal/filelock"
	"github.com/haltonlabs/halton-meter/internal/unixsock"
)

// ErrRunning is the answer of [Supervisor.Run] if another supervisor serves
// the same Dir. It is no failure: that one is as good.
var ErrRunning = errors.New("another supervisor serves this directory")

const (
	defaultIdleExit = 3 * time.Second
	// housekeeping is how often the supervisor looks at the world outside:
	// the paths of PathState, and whether its Dir still exists.
	housekeeping = 500 * time.Millisecond
	// takeover is how long a new supervisor waits for one that has stopped to
	// answer but not yet let go of the lock.
	takeover = 5 * time.Second
)

// Supervisor is the process that stands for launchd. Set it up and call Run
// once.
type Supervisor struct {
	// Dir is where it keeps its files, all named launchd*. One supervisor at
	// a time can have it. It must be set, and exist: a supervisor that comes
	// late must not bring back what an uninstaller has just removed.
	Dir string
	// Logger gets what happens to jobs. nil discards it.
	Logger *slog.Logger
	// Knobs choose the behaviour; the zero value is a current macOS.
	Knobs Knobs
	// IdleExit is how long Run goes on without a loaded job, a variable of
	// setenv or a client. Zero is 3 s; negative is for ever.
	IdleExit time.Duration
	// StopTimeout is the most that a job gets between SIGTERM and SIGKILL when
	// Run ends. Zero leaves each job its ExitTimeOut, and 5 s to one whose
	// ExitTimeOut is 0, which else is never killed: a supervisor that is told
	// to end must not wait for ever.
	StopTimeout time.Duration
	// Now and After replace the clock that throttle, intervals and exit
	// timeouts go by. nil is that of package time.
	Now   func() time.Time
	After func(time.Duration) <-chan time.Time
}

// Run supervises until it is idle, ctx ends, or another supervisor has come to
// a new directory in the place of its Dir, and then takes down all jobs before
// it returns. That its Dir is deleted or moved away is no reason to end: jobs
// that others depend on run on. It returns [ErrRunning] if another
// supervisor is at work in Dir: a program that was started to be the supervisor
// then ends with success.
func (s *Supervisor) Run(ctx context.Context) error {
	if s.Dir == "" {
		return errors.New("run supervisor: no Dir is set")
	}
	lock, err := s.lock(ctx)
	if err != nil {
		return fmt.Errorf("run supervisor: %w", err)
	}
	defer lock.Unlock()
	locked, err := os.Stat(filepath.Join(s.Dir, lockFile))
	if err != nil {
		return fmt.Errorf("run supervisor: %w", err)
	}
	if err := s.sign(); err != nil {
		// A full disk must not decide whether jobs run.
		s.logger().Warn("launchd.unsigned", "error", err.Error())
	}
	r := newRegistry(s)
	r.restore()
	ln, err := unixsock.Listen(filepath.Join(s.Dir, sockFile))
	if err != nil {
		return fmt.Errorf("run supervisor: %w", err)
	}
	r.log.Info("launchd.started", "pid", os.Getpid(), "dir", s.Dir)
	go r.accept(ln)
	r.loop(ctx, func() bool {
		st, err := os.Stat(filepath.Join(s.Dir, lockFile))
		return err == nil && !os.SameFile(st, locked)
	})
	close(r.done)
	ln.Close()
	if !r.orphaned {
		// Only while the lock is held: the next supervisor has its own socket.
		_ = os.Remove(filepath.Join(s.Dir, sockFile))
	}
	r.log.Info("launchd.stopped", "pid", os.Getpid())
	return nil
}

// lock waits for a supervisor that is about to go, but not for one that
// answers.
func (s *Supervisor) lock(ctx context.Context) (*filelock.Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, takeover)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		lock, err := filelock.Try(filepath.Join(s.Dir, lockFile))
		if !errors.Is(err, filelock.ErrHeld) {
			return lock, err
		}
		if conn, err := unixsock.Dial(ctx, filepath.Join(s.Dir, sockFile)); err == nil {
			conn.Close()
			return nil, ErrRunning
		}
		select {
		case <-ctx.Done():
			return nil, ErrRunning
		case <-tick.C:
		}
	}
}

func (s *Supervisor) logger() *slog.Logger {
	if s.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Logger
}

func (s *Supervisor) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

func (s *Supervisor) after(d time.Duration) <-chan time.Time {
	if s.After == nil {
		return time.After(d)
	}
	return s.After(d)
}

// loop is the one goroutine that touches the registry. All others send it
// functions to run.
func (r *registry) loop(ctx context.Context, replaced func() bool) {
	tick := time.NewTicker(housekeeping)
	defer tick.Stop()
	end := ctx.Done()
	idleSince := r.sup.now()
	for {
		if r.clients > 0 || !r.idle() {
			idleSince = r.sup.now()
		}
		if r.stopping && len(r.jobs) == 0 && r.clients == 0 {
			return
		}
		r.settle()
		var wake <-chan time.Time
		if at := r.nextDue(idleSince); !at.IsZero() {
			wake = r.sup.after(max(0, at.Sub(r.sup.now())))
		}
		select {
		case f := <-r.calls:
			f()
		case <-wake:
			r.dueJobs()
			if r.idle() && r.clients == 0 && !r.idleEnd(idleSince).IsZero() && !r.sup.now().Before(r.idleEnd(idleSince)) {
				return
			}
		case <-tick.C:
			if !r.stopping && replaced() {
				r.log.Warn("launchd.directory.replaced", "dir", r.sup.Dir)
				r.orphaned = true
				r.stop()
			}
			// A step of the clock, or a sleep of the machine, wakes no timer.
			r.dueJobs()
			r.lookAround()
		case <-end:
			end = nil
			r.stop()
		}
	}
}

// stop takes all jobs down; the loop ends when the last is gone.
func (r *registry) stop() {
	r.stopping = true
	clear(r.env)
	for _, j := range r.sorted() {
		j.rules.bound(r.sup.StopTimeout)
		r.step(j, event{kind: bootout})
	}
	r.save()
}

func (r *registry) idle() bool { return len(r.jobs) == 0 && len(r.env) == 0 }

// idleEnd is when an idle supervisor may go; zero is never.
func (r *registry) idleEnd(since time.Time) time.Time {
	switch d := r.sup.IdleExit; {
	case d < 0:
		return time.Time{}
	case d == 0:
		return since.Add(defaultIdleExit)
	default:
		return since.Add(d)
	}
}

// nextDue is when the loop must wake by itself; zero is never.
func (r *registry) nextDue(idleSince time.Time) time.Time {
	var next time.Time
	if r.idle() && r.clients == 0 {
		next = r.idleEnd(idleSince)
	}
	for _, j := range r.jobs {
		if d := j.life.Due; !d.IsZero() && (next.IsZero() || d.Before(next)) {
			next = d
		}
	}
	return next
}

// accept takes clients until ln is closed.
func (r *registry) accept(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Too many open files, for one: it passes.
			r.log.Warn("launchd.accept.failed", "error", err)
			select {
			case <-r.done:
				return
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		go r.serve(conn)
	}
}
