package launchd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// startWait is how long Load waits for the process of a job that starts at
// load before it demands one.
const startWait = 2 * time.Second

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
		return l.clear(refusal, l.waitGone(ctx, l.target, l.teardown(svc)))
	case l.job.isLoadedAs(svc, l.path):
		l.result.AlreadyLoaded = true
		return final, nil
	}
	// Loaded from another plist, or from an older one: launchd does not read
	// a plist again while its job is loaded.
	if l.removed++; l.removed > maxRemovals {
		return final, fmt.Errorf("%w: another program keeps loading %s from %s: %w", ErrInFlux, l.target, svc.Path, refusal)
	}
	return l.clear(refusal, l.bootout(ctx, l.target, l.teardown(svc)))
}

// clear is the verdict after an attempt to free the label.
func (l *loading) clear(refusal *Error, err error) (next, error) {
	if err != nil {
		return final, fmt.Errorf("%w: %w", err, refusal)
	}
	return again, nil
}

// teardown is how long to wait for the label, which may be longer than the
// budget. A service without an exit timeout has what is left of the budget.
func (l *loading) teardown(svc *Service) time.Duration {
	d := svc.teardown()
	if d == 0 {
		return max(time.Until(l.deadline), minPatience)
	}
	if end := time.Now().Add(d); end.After(l.deadline) {
		l.deadline = end
	}
	return d
}

// isLoadedAs reports whether the loaded service is the job of the plist.
func (j *Job) isLoadedAs(svc *Service, plist string) bool {
	return samePath(svc.Path, plist) && samePath(svc.Program, j.program()) &&
		(len(j.ProgramArguments) == 0 || svc.HasArguments(j.ProgramArguments))
}

// program is what launchd runs.
func (j *Job) program() string {
	if j.Program == "" && len(j.ProgramArguments) > 0 {
		return j.ProgramArguments[0]
	}
	return j.Program
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
	disabled, err := l.PrintDisabled(ctx, l.domain)
	if err == nil && disabled[l.target.Label()] {
		return ErrDisabled
	}
	if err := CheckPlistFile(l.path, l.domain); err != nil {
		return err
	}
	return l.job.refusal(l.domain)
}

// ensureStarted demands a process where launchd puts the start off, which it
// may do for good: bootstrap's 0 means registered, not started.
func (l *loading) ensureStarted(ctx context.Context) error {
	deadline := time.Now().Add(startWait)
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		l.hurry()
		svc, err := l.Print(ctx, l.target)
		switch {
		case errors.Is(err, errUnreadable):
			// It is loaded; no more can be told.
			return nil
		case err != nil:
			return err
		case svc.JobState == "spawn failed":
			return fmt.Errorf("%w: launchd cannot start %s: look at its permissions, and at those of the job's log files", ErrBadPlist, svc.Program)
		case svc.PID != 0 && svc.State != "spawned" && svc.State != "xpcproxy":
			return nil
		case svc.PID != 0:
			// The process is not yet the program, and may fail to become it.
			if !time.Now().Before(deadline) {
				return nil
			}
		case svc.Runs > 0:
			return nil
		case svc.PendedSpawn != "" || !time.Now().Before(deadline):
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
	isTrue := func(b *bool) bool { return b != nil && *b }
	switch k := j.KeepAlive; {
	case isTrue(j.RunAtLoad):
		return true
	case k == nil:
		// OnDemand false is the old way to say KeepAlive true.
		return j.OnDemand != nil && !*j.OnDemand
	case k.Conditions == nil:
		return k.Always
	default:
		// The conditions on the last exit were seen to cause the first start;
		// for the others it depends on files and jobs.
		c := k.Conditions
		return (c.SuccessfulExit != nil || c.Crashed != nil) && !isTrue(c.AfterInitialDemand)
	}
}

// missingProgram tells that a job that starts at load has nothing to start:
// launchd would load it and fail to run it, again and again.
func (j *Job) missingProgram() error {
	program := j.program()
	if !j.startsAtLoad() || j.RootDirectory != "" || program == "" || program[0] != '/' {
		return nil
	}
	if _, err := os.Stat(program); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: its program %s does not exist", ErrBadPlist, program)
	}
	return nil
}
