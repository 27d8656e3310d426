package launchd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sethvargo/go-retry"
)

// The waits of [Client.Load] between two attempts.
const (
	DefaultBudget    = 15 * time.Second
	DefaultBaseDelay = 200 * time.Millisecond
	maxDelay         = 2 * time.Second
	jitterPercent    = 10
)

// startWait is how long Load waits for the process of a job that starts at
// load before it demands one.
const startWait = 2 * time.Second

// Codes that Load decides by, of Darwin's errno and libxpc.
const (
	codeIO         = 5 // since macOS 12 the answer to nearly every failed bootstrap
	codeExists     = 17
	codeInProgress = 36
	codeAlready    = 37
	codeDisabled   = 119
)

// LoadOptions are the bounds of a [Client.Load]. The zero value is usable.
type LoadOptions struct {
	// Budget is how long an attempt that failed for a reason that may pass
	// is made again. Where the label is being torn down, Load takes at least
	// as long as the old job's exit timeout and 5 s. 0: DefaultBudget.
	Budget time.Duration
	// BaseDelay is the first wait; each is twice the one before, up to 2 s,
	// give or take 10 %. 0: DefaultBaseDelay.
	BaseDelay time.Duration
	// Postmortem is a file that gets one JSON line if Load fails; see
	// [Postmortem]. "": none.
	Postmortem string
	// OnAttempt is told of each bootstrap that failed. Nil: nobody.
	OnAttempt func(Attempt)
}

// Attempt is a bootstrap that failed.
type Attempt struct {
	At     time.Time
	Delay  time.Duration // the wait before it
	Code   int           // launchctl's exit status
	Stderr string
}

// LoadResult is what Load found.
type LoadResult struct {
	// AlreadyLoaded means that the job was there, with the same plist,
	// program and arguments; it was left as it is.
	AlreadyLoaded bool
	// Attempts are the bootstraps that failed before one did not.
	Attempts []Attempt
}

// Load brings the plist at path into the domain and returns once it is there:
// it enables the label, bootstraps it, and where launchctl refuses, finds out
// why before it tries again.
//
// On macOS 12 and newer launchctl answers 5 to nearly every refusal. So after
// 5, 17, 36 and 37 Load looks at the label: a job that is loaded as the plist
// says is a success; one that is loaded otherwise is booted out; one that is
// being torn down is waited for. If there is none, the label may just have
// become free, and Load tries again within the budget, unless it finds a cause
// that does not pass: a disabled label, a plist that launchd never takes. Every
// other code is final.
//
// A job that should run from the start, and that launchd puts off ("pended
// nondemand spawn"), is kickstarted.
func (c *Client) Load(ctx context.Context, d DomainTarget, path string, o LoadOptions) (LoadResult, error) {
	job, err := readJob(path)
	if err != nil {
		return LoadResult{}, fmt.Errorf("load %s: %w", path, err)
	}
	target, err := d.Service(job.Label)
	if err != nil {
		return LoadResult{}, fmt.Errorf("load %s: %w", path, err)
	}
	if o.Budget == 0 {
		o.Budget = DefaultBudget
	}
	if o.BaseDelay == 0 {
		o.BaseDelay = DefaultBaseDelay
	}
	l := &loading{Client: c, LoadOptions: o, job: job, target: target, path: path, deadline: time.Now().Add(o.Budget)}
	res, err := l.run(ctx)
	if err != nil {
		err = fmt.Errorf("load %s: %w", job.Label, err)
		if o.Postmortem != "" && len(res.Attempts) > 0 {
			err = errors.Join(err, l.postmortem(ctx).append(o.Postmortem))
		}
	}
	return res, err
}

// loading is one Load at work.
type loading struct {
	*Client
	LoadOptions
	job      *Job
	target   ServiceTarget
	path     string
	deadline time.Time

	delay   time.Duration // before the attempt at work
	enabled bool          // once more, after a 119
	result  LoadResult
}

func (l *loading) run(ctx context.Context) (LoadResult, error) {
	// The disabled bit outlives plists and reboots, and shows in nothing that
	// one would look at.
	if err := l.Enable(ctx, l.target); err != nil {
		return l.result, err
	}
	var last error
	err := retry.Do(ctx, l.backoff(), func(ctx context.Context) error {
		passes, err := l.attempt(ctx)
		last = err
		if passes {
			return retry.RetryableError(err)
		}
		return err
	})
	if err != nil {
		return l.result, l.failure(ctx, last, err)
	}
	if l.result.AlreadyLoaded || !l.job.startsAtLoad() {
		return l.result, nil
	}
	return l.result, l.ensureStarted(ctx)
}

// backoff waits exponentially until the deadline, which may move.
func (l *loading) backoff() retry.Backoff {
	next := retry.WithCappedDuration(maxDelay, retry.WithJitterPercent(jitterPercent, retry.NewExponential(l.BaseDelay)))
	return retry.BackoffFunc(func() (time.Duration, bool) {
		wait, stop := next.Next()
		left := time.Until(l.deadline)
		if stop || left <= 0 {
			return 0, true
		}
		l.delay = min(wait, left)
		return l.delay, false
	})
}

// failure is the error to report; err is what the retrying makes of the last
// answer, which it forgets when the context ends.
func (l *loading) failure(ctx context.Context, last, err error) error {
	switch {
	case last == nil:
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("%w; the last answer: %w", context.Cause(ctx), last)
	case time.Now().After(l.deadline):
		return fmt.Errorf("still refused after %s and %d attempts: %w", l.Budget, len(l.result.Attempts), last)
	}
	return last
}

// attempt bootstraps once, and again at once whenever it could remove what
// was in the way. Its error passes if another try may do better.
func (l *loading) attempt(ctx context.Context) (passes bool, err error) {
	for {
		err := l.Bootstrap(ctx, l.target.Domain(), l.path)
		var e *Error
		if !errors.As(err, &e) {
			return false, err
		}
		l.note(e)
		switch e.Code {
		case codeIO, codeExists, codeInProgress, codeAlready:
			if verdict, err := l.look(ctx, e); err != nil || verdict != again {
				return verdict == wait, err
			}
		case codeDisabled:
			if l.enabled {
				return false, e
			}
			l.enabled = true
			if err := l.Enable(ctx, l.target); err != nil {
				return false, err
			}
		default:
			return false, e
		}
		l.delay = 0
	}
}

func (l *loading) note(e *Error) {
	a := Attempt{At: time.Now(), Delay: l.delay, Code: e.Code, Stderr: e.Stderr}
	l.result.Attempts = append(l.result.Attempts, a)
	if l.OnAttempt != nil {
		l.OnAttempt(a)
	}
}

// next is what to do after a look at the label.
type next int

const (
	final next = iota // the error stands, or there is none
	wait              // it may pass
	again             // what was in the way is gone
)

// look finds out what a refusal means.
func (l *loading) look(ctx context.Context, refusal *Error) (next, error) {
	svc, err := l.Print(ctx, l.target)
	switch {
	case errors.Is(err, ErrNotLoaded):
		if cause := l.diagnose(ctx); cause != nil {
			return final, fmt.Errorf("%w: %w", cause, refusal)
		}
		return wait, refusal
	case errors.Is(err, ErrNoDomain):
		return final, err
	case err != nil:
		// It cannot be told; within the budget it may yet.
		return wait, refusal
	case svc.Draining():
		l.extend(svc)
		return again, l.waitGone(ctx, l.target, svc.teardown())
	case l.isLoadedAs(svc):
		l.result.AlreadyLoaded = true
		return final, nil
	}
	// Loaded from another plist, or from an older one: launchd does not read
	// a plist again while its job is loaded.
	l.extend(svc)
	return again, l.Bootout(ctx, l.target)
}

// extend lets the deadline be no earlier than the teardown's end.
func (l *loading) extend(svc *Service) {
	if end := time.Now().Add(svc.teardown()); end.After(l.deadline) {
		l.deadline = end
	}
}

// isLoadedAs reports whether the loaded job is the one of the plist.
func (l *loading) isLoadedAs(svc *Service) bool {
	program := l.job.Program
	if program == "" && len(l.job.ProgramArguments) > 0 {
		program = l.job.ProgramArguments[0]
	}
	return samePath(svc.Path, l.path) && samePath(svc.Program, program) &&
		(len(l.job.ProgramArguments) == 0 || svc.HasArguments(l.job.ProgramArguments))
}

// samePath reports whether two paths name one file: /tmp and /private/tmp are
// one on macOS.
func samePath(a, b string) bool {
	if a == b {
		return true
	}
	sa, err := os.Stat(a)
	if err != nil {
		return false
	}
	sb, err := os.Stat(b)
	return err == nil && os.SameFile(sa, sb)
}

// diagnose looks for a cause that no retry cures.
func (l *loading) diagnose(ctx context.Context) error {
	if err := checkPlistFile(l.path); err != nil {
		return err
	}
	disabled, err := l.PrintDisabled(ctx, l.target.Domain())
	if err == nil && disabled[l.target.Label()] {
		return ErrDisabled
	}
	return nil
}

// ensureStarted demands a process where launchd puts the start off, which it
// may do for good: bootstrap's 0 means registered, not started.
func (l *loading) ensureStarted(ctx context.Context) error {
	deadline := time.Now().Add(startWait)
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		svc, err := l.Print(ctx, l.target)
		if err != nil {
			return err
		}
		if svc.PID != 0 || svc.Runs > 0 {
			return nil
		}
		if svc.PendedSpawn != "" || time.Now().After(deadline) {
			_, err := l.Kickstart(ctx, l.target, KickstartOptions{})
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// startsAtLoad reports whether launchd starts the job without a demand.
func (j *Job) startsAtLoad() bool {
	if j.RunAtLoad != nil && *j.RunAtLoad {
		return true
	}
	return j.KeepAlive != nil && j.KeepAlive.Conditions == nil && j.KeepAlive.Always
}

func readJob(path string) (*Job, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadPlist, err)
	}
	if st.Size() > maxPlistBytes {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrBadPlist, maxPlistBytes)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadPlist, err)
	}
	job, err := ParseJob(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadPlist, err)
	}
	return job, nil
}
