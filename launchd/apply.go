package launchd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sethvargo/go-retry"

	"github.com/haltonlabs/halton-meter/internal/atomicfile"
	"github.com/haltonlabs/halton-meter/internal/filelock"
)

// ApplyResult is what Apply had to do.
type ApplyResult struct {
	LoadResult
	// Wrote means that the plist was missing or another.
	Wrote bool
	// Unchanged means that the plist was there and the job loaded from it;
	// it was left alone. AlreadyLoaded is then true as well.
	Unchanged bool
	// Replaced is another plist from which the label was loaded. It is still
	// there, and would be loaded again at the next login.
	Replaced string
}

// Apply brings the job into the domain with its plist at path, whether it is
// new, changed, loaded from elsewhere, disabled or being torn down. A job that
// is loaded from an equal plist keeps running. [ErrBadPlist] means that the
// job has problems, see [Job.ValidateFor]; then nothing was touched.
//
// A job that has to change is unloaded before its plist is replaced, so that
// what is loaded never lags behind the file, also after a crash between the
// two. If the file cannot be replaced, the old job is loaded again.
//
// [ErrNoDomain] means that nobody is logged in; the plist is in place and
// launchd loads it at the next login, if its directory is one of launchd's,
// such as ~/Library/LaunchAgents.
//
// Apply, Remove and Restart hold a flock(2) on the plist's directory, which is
// made if it is missing, so that several processes may call them at once.
func (c *Client) Apply(ctx context.Context, d DomainTarget, path string, job *Job, o LoadOptions) (ApplyResult, error) {
	a := applying{Client: c, LoadOptions: o, domain: d}
	res, err := a.run(ctx, path, job)
	if err != nil {
		err = fmt.Errorf("apply %s: %w", job.Label, err)
	}
	return res, err
}

// applying is one Apply at work.
type applying struct {
	*Client
	LoadOptions
	domain DomainTarget
	path   string
	data   []byte
	result ApplyResult
}

func (a *applying) run(ctx context.Context, path string, job *Job) (ApplyResult, error) {
	target, err := a.domain.Service(job.Label)
	if err != nil {
		return a.result, err
	}
	if err := invalid(job.ValidateFor(a.domain)); err != nil {
		return a.result, err
	}
	if a.data, err = job.Encode(); err != nil {
		return a.result, err
	}
	if a.path, err = filepath.Abs(path); err != nil {
		return a.result, err
	}
	if err := os.MkdirAll(filepath.Dir(a.path), 0o755); err != nil { //nolint:gosec // as macOS makes ~/Library/LaunchAgents
		return a.result, err
	}
	unlock, err := lockDir(ctx, filepath.Dir(a.path))
	if err != nil {
		return a.result, err
	}
	defer unlock()
	svc, err := a.Print(ctx, target)
	switch {
	case errors.Is(err, ErrNotLoaded), errors.Is(err, errUnreadable):
	case errors.Is(err, ErrNoDomain):
		return a.result, errors.Join(err, a.write())
	case err != nil:
		return a.result, err
	case a.same() && !svc.Draining() && job.isLoadedAs(svc, a.path):
		a.result.Unchanged, a.result.AlreadyLoaded = true, true
		// The job may run although somebody disabled it since.
		return a.result, a.Enable(ctx, target)
	}
	if svc != nil && svc.Path != "" && !samePath(svc.Path, a.path) {
		a.result.Replaced = svc.Path
	}
	if err := a.Bootout(ctx, target); err != nil {
		return a.result, err
	}
	if err := a.write(); err != nil {
		return a.result, errors.Join(err, a.restore(ctx, svc))
	}
	a.result.LoadResult, err = a.Load(ctx, a.domain, a.path, a.LoadOptions)
	return a.result, err
}

// same reports whether the plist is in place.
func (a *applying) same() bool {
	return holds(a.path, a.data) && CheckPlistFile(a.path, a.domain) == nil
}

func (a *applying) write() error {
	if a.same() {
		return nil
	}
	err := atomicfile.Write(a.path, a.data, 0o644)
	a.result.Wrote = err == nil
	return err
}

// restore loads what was loaded before.
func (a *applying) restore(ctx context.Context, svc *Service) error {
	// A job without a plist, "(submitted by …)", cannot be loaded again.
	if svc == nil || !isFile(svc.Path) {
		return nil
	}
	_, err := a.Load(ctx, a.domain, svc.Path, a.LoadOptions)
	return err
}

// Remove unloads the service, waits until it is gone, and deletes the plist at
// path. What is not there is no error. [ErrNoDomain] means that nobody is
// logged in, so that there is nothing to unload; the plist is deleted.
func (c *Client) Remove(ctx context.Context, s ServiceTarget, path string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("remove %s: %w", s, err)
		}
	}()
	if err := s.check(); err != nil {
		return err
	}
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	unlock, err := lockDir(ctx, filepath.Dir(path))
	if err != nil {
		return err
	}
	defer unlock()
	err = c.Bootout(ctx, s)
	if err != nil && !errors.Is(err, ErrNoDomain) {
		return err
	}
	if rerr := os.Remove(path); !errors.Is(rerr, os.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

// Restart ends the service's process as kickstart -k does, with SIGTERM and,
// after its exit timeout, SIGKILL, starts it anew and returns its pid, 0 if
// launchd puts the start off. The service runs as it was loaded: after a
// change of its plist, call Apply.
func (c *Client) Restart(ctx context.Context, s ServiceTarget) (pid int, err error) {
	svc, err := c.Print(ctx, s)
	if errors.Is(err, errUnreadable) {
		svc, err = new(Service), nil
	}
	if err != nil {
		return 0, err
	}
	if filepath.IsAbs(svc.Path) { // not "(submitted by …)"
		unlock, err := lockDir(ctx, filepath.Dir(svc.Path))
		if err != nil {
			return 0, fmt.Errorf("restart %s: %w", s, err)
		}
		defer unlock()
	}
	patient := *c
	if t := svc.teardown(); t == 0 {
		patient.Timeout = -1
	} else if patient.timeout() > 0 {
		// After the old process, the throttle may keep the new one waiting.
		patient.Timeout = max(patient.timeout(), t+svc.MinimumRuntime)
	}
	// On macOS 26, kickstart -k was seen to answer 5 to a job that took it a
	// moment later.
	waits := retry.WithMaxRetries(restartRetries, retry.NewExponential(DefaultBaseDelay))
	var last error
	err = retry.Do(ctx, waits, func(ctx context.Context) error {
		var e *Error
		pid, last = patient.Kickstart(ctx, s, KickstartOptions{Kill: true})
		if errors.As(last, &e) && (e.Code == codeIO || errors.Is(e, ErrInFlux)) {
			return retry.RetryableError(last)
		}
		return last
	})
	if err != nil && ctx.Err() != nil && last != nil {
		return 0, fmt.Errorf("%w; the last answer: %w", context.Cause(ctx), last)
	}
	return pid, err
}

// restartRetries with DefaultBaseDelay are 6.2 s, longer than most jobs take
// to be torn down.
const restartRetries = 5

// lockDir locks a directory against other processes in this package. A lock
// on the directory itself leaves no file behind that launchd would look at.
func lockDir(ctx context.Context, dir string) (unlock func(), err error) {
	if st, err := os.Stat(dir); err == nil && !st.IsDir() || errors.Is(err, os.ErrNotExist) {
		// Then there is no plist in it, and nothing to protect. The lock would
		// make a file of that name.
		return func() {}, nil
	}
	lock, err := filelock.Wait(ctx, dir)
	if err != nil {
		return nil, err
	}
	return func() { lock.Unlock() }, nil
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}
