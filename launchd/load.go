package launchd

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/sethvargo/go-retry"
)

// The waits of [Client.Load] between two attempts.
const (
	DefaultBudget    = 15 * time.Second
	DefaultBaseDelay = 200 * time.Millisecond
	maxDelay         = 2 * time.Second
	jitterPercent    = 10
	minPatience      = 2 * time.Second // with one launchctl
	// maxRemovals is how often another definition of the label is booted out
	// before Load gives way: then somebody else keeps loading it.
	maxRemovals = 3
)

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
	// as long as the old job's exit timeout and 5 s. 0: DefaultBudget; less:
	// one attempt.
	Budget time.Duration
	// BaseDelay is the first wait; each is twice the one before, up to 2 s,
	// give or take 10 %. 0 or less: DefaultBaseDelay.
	BaseDelay time.Duration
	// Postmortem is a file that gets one JSON line if Load fails, unless it
	// was cancelled; see [Postmortem]. "": none.
	Postmortem string
	// OnAttempt is told of each bootstrap that failed. Nil: nobody.
	OnAttempt func(Attempt)
}

// Attempt is a bootstrap that failed.
type Attempt struct {
	At     time.Time
	Delay  time.Duration // the wait before it
	Code   int           // launchctl's exit status; -1 if it gave none
	Stderr string        // what it said, or why it gave no status
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
// nondemand spawn"), is kickstarted. If launchd cannot start such a job's
// program, that is an error, though the job is loaded.
//
// If ctx ends, the error holds its cause and launchctl's last answer.
func (c *Client) Load(ctx context.Context, d DomainTarget, path string, o LoadOptions) (LoadResult, error) {
	l, err := c.newLoading(d, path, o)
	if err != nil {
		return LoadResult{}, fmt.Errorf("load %s: %w", path, err)
	}
	err = l.run(ctx)
	if err != nil {
		err = fmt.Errorf("load %s: %w", l.job.Label, err)
		if o.Postmortem != "" && !interrupted(ctx, err) {
			err = errors.Join(err, l.postmortem(ctx).append(ctx, o.Postmortem))
		}
	}
	return l.result, err
}

// interrupted reports whether nobody has refused anything: the caller has given
// up, or somebody has killed the launchctl, as Ctrl-C does a moment before.
func interrupted(ctx context.Context, err error) bool {
	_, killed := errors.AsType[*exec.ExitError](err)
	return killed || errors.Is(ctx.Err(), context.Canceled)
}

// loading is one Load at work.
type loading struct {
	Client
	LoadOptions
	job      *Job
	domain   DomainTarget
	target   ServiceTarget
	path     string
	patience time.Duration // the client's own Timeout
	deadline time.Time

	delay   time.Duration // before the attempt at work
	enabled bool          // once more, after a 119
	removed int           // other definitions of the label
	spent   bool          // the budget
	answer  error         // the last of launchctl to a bootstrap
	result  LoadResult
}

func (c *Client) newLoading(d DomainTarget, path string, o LoadOptions) (*loading, error) {
	// launchd has another working directory.
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	job, err := readJob(path)
	if err != nil {
		return nil, err
	}
	target, err := d.Service(job.Label)
	if err != nil {
		return nil, err
	}
	if o.Budget == 0 {
		o.Budget = DefaultBudget
	}
	if o.BaseDelay <= 0 {
		o.BaseDelay = DefaultBaseDelay
	}
	return &loading{
		Client: *c, LoadOptions: o, job: job, domain: d, target: target, path: path,
		patience: c.timeout(), deadline: time.Now().Add(o.Budget),
	}, nil
}

func (l *loading) run(ctx context.Context) error {
	if err := l.job.missingProgram(); err != nil {
		return err
	}
	// The disabled bit outlives plists and reboots, and shows in nothing that
	// one would look at.
	l.hurry()
	if err := l.Enable(ctx, l.target); err != nil {
		return err
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
		return l.failure(ctx, last, err)
	}
	if l.result.AlreadyLoaded || !l.job.startsAtLoad() {
		return nil
	}
	return l.ensureStarted(ctx)
}

// hurry bounds the next launchctl by what is left of the budget, so that one
// that hangs does not outlast it by much.
func (l *loading) hurry() {
	left := max(time.Until(l.deadline), minPatience)
	if l.patience > 0 {
		left = min(left, l.patience)
	}
	l.Timeout = left
}

// backoff waits exponentially until the deadline, which may move.
func (l *loading) backoff() retry.Backoff {
	next := retry.WithCappedDuration(maxDelay, retry.WithJitterPercent(jitterPercent, retry.NewExponential(l.BaseDelay)))
	return retry.BackoffFunc(func() (time.Duration, bool) {
		wait, stop := next.Next()
		left := time.Until(l.deadline)
		if stop || left <= 0 {
			l.spent = true
			return 0, true
		}
		l.delay = min(wait, left)
		return l.delay, false
	})
}

// failure is the error to report; err is what the retrying makes of the last
// one, which it forgets when the context ends.
func (l *loading) failure(ctx context.Context, last, err error) error {
	switch {
	case ctx.Err() != nil && l.answer != nil:
		return fmt.Errorf("%w; the last answer: %w", context.Cause(ctx), l.answer)
	case last == nil:
		return err
	case l.spent:
		return fmt.Errorf("still refused after %s and %d attempts: %w", l.Budget, len(l.result.Attempts), last)
	}
	return last
}

// attempt bootstraps once, and again at once whenever it could remove what
// was in the way. Its error passes if another try may do better.
func (l *loading) attempt(ctx context.Context) (passes bool, err error) {
	for {
		l.hurry()
		err := l.Bootstrap(ctx, l.domain, l.path)
		if err == nil {
			return false, nil
		}
		l.note(err)
		var e *Error
		if !errors.As(err, &e) {
			return false, err
		}
		l.answer = e
		switch e.cause() {
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

func (l *loading) note(err error) {
	a := Attempt{At: time.Now(), Delay: l.delay, Code: -1, Stderr: err.Error()}
	if e, ok := errors.AsType[*Error](err); ok {
		a.Code, a.Stderr = e.Code, e.Stderr
	}
	l.result.Attempts = append(l.result.Attempts, a)
	if l.OnAttempt != nil {
		l.OnAttempt(a)
	}
}
