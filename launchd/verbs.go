package launchd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	// defaultExitTimeout is what launchd grants between SIGTERM and SIGKILL
	// if the plist does not say: every recent launchctl print shows 5.
	defaultExitTimeout = 5 * time.Second
	// teardownMargin is added to it for SIGKILL, the reaping and the removal
	// of the label.
	teardownMargin = 5 * time.Second
	// probeEvery is how often a label that should go away is looked for. A
	// print costs about 3 ms.
	probeEvery = 50 * time.Millisecond
	// longProbeEvery is the same for a service that takes longer than most.
	longProbeEvery = 500 * time.Millisecond
)

// errUnreadable means that launchctl answered, in a format that this package
// does not know. Apple promises none.
var errUnreadable = errors.New("cannot read what launchctl printed")

// Bootstrap loads the plist at path into the domain, once: its code 5 says
// only that it failed. [Client.Load] is what a program usually wants.
func (c *Client) Bootstrap(ctx context.Context, d DomainTarget, path string) error {
	if err := d.check(); err != nil {
		return err
	}
	// Without a path launchctl would bootstrap the domain itself.
	if path == "" {
		return fmt.Errorf("%w: bootstrap needs a plist's path", ErrBadTarget)
	}
	_, err := c.call(ctx, "bootstrap", path, d.String(), path)
	return err
}

// Bootout unloads the service and waits until its label is free: launchctl
// itself returns while the process still gets its SIGTERM. A service that is
// not loaded is no error. It gives up with [ErrInFlux] when the service's exit
// timeout and 5 s are over; a service without such a timeout is waited for
// until ctx ends.
func (c *Client) Bootout(ctx context.Context, s ServiceTarget) error {
	if err := s.check(); err != nil {
		return err
	}
	// The timeout counts from the bootout, and is not told after it.
	svc, err := c.Print(ctx, s)
	switch {
	case errors.Is(err, ErrNotLoaded):
		return nil
	case errors.Is(err, errUnreadable):
		svc = new(Service)
	case err != nil:
		return err
	}
	return c.bootout(ctx, s, svc.teardown())
}

// bootout is Bootout of a loaded service, within a budget as of waitGone.
func (c *Client) bootout(ctx context.Context, s ServiceTarget, budget time.Duration) error {
	_, err := c.call(ctx, "bootout", s.String(), s.String())
	var e *Error
	switch {
	case err == nil, errors.Is(err, ErrInFlux), errors.Is(err, ErrNotLoaded):
		return c.waitGone(ctx, s, budget)
	case !errors.As(err, &e) || e.Code != codeIO:
		return err
	}
	// 5 says only that it failed: perhaps since another bootout came first.
	svc, perr := c.Print(ctx, s)
	switch {
	case errors.Is(perr, ErrNotLoaded):
		return nil
	case perr == nil && svc.Draining():
		return c.waitGone(ctx, s, budget)
	}
	return err
}

// teardown is how long the service's label may stay taken after a bootout; 0
// means without a bound.
func (s *Service) teardown() time.Duration {
	switch {
	case s.ExitTimeout == nil:
		return defaultExitTimeout + teardownMargin
	case *s.ExitTimeout == 0:
		return 0
	}
	return *s.ExitTimeout + teardownMargin
}

// waitGone waits until the label is free. A budget of 0 is without a bound.
func (c *Client) waitGone(ctx context.Context, s ServiceTarget, budget time.Duration) error {
	if budget > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, budget, fmt.Errorf("%w: %s is still loaded %s after bootout", ErrInFlux, s, budget))
		defer cancel()
	}
	began := time.Now()
	for {
		_, err := c.Print(ctx, s)
		var e *Error
		switch answered := err == nil || errors.As(err, &e) || errors.Is(err, errUnreadable); {
		case errors.Is(err, ErrNotLoaded):
			return nil
		case errors.Is(err, ErrNoDomain), !answered && ctx.Err() == nil:
			// After a logout nobody can tell whether the service is gone.
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(probePause(time.Since(began))):
		}
	}
}

// probePause is how long to wait before the next look, so that a long drain
// is not watched by hundreds of processes.
func probePause(waited time.Duration) time.Duration {
	if waited < defaultExitTimeout {
		return probeEvery
	}
	return longProbeEvery
}

// KickstartOptions are the flags of kickstart.
type KickstartOptions struct {
	// Kill restarts a service that runs: SIGTERM, and SIGKILL after its exit
	// timeout. It runs what is loaded, not what the plist says by now.
	Kill bool
}

// Kickstart starts the service now, which also ends what launchd puts off by
// itself, and returns its pid if launchctl tells it. A service that runs
// already is no error; one that is being torn down is [ErrInFlux].
func (c *Client) Kickstart(ctx context.Context, s ServiceTarget, o KickstartOptions) (pid int, err error) {
	if err := s.check(); err != nil {
		return 0, err
	}
	args := []string{"-p", s.String()}
	if o.Kill {
		args = append([]string{"-k"}, args...)
	}
	out, err := c.call(ctx, "kickstart", s.String(), args...)
	var e *Error
	if errors.As(err, &e) && e.Code == codeAlready && !o.Kill {
		// Field reports say 0 for a service that runs, launchctl's source 37.
		// It is also the answer for one that is being torn down.
		svc, perr := c.Print(ctx, s)
		if perr == nil && svc.PID != 0 && !svc.Draining() {
			return svc.PID, nil
		}
	}
	if err != nil {
		return 0, err
	}
	// To a terminal it is "service spawned with pid: 91223".
	words := strings.Fields(string(out))
	if len(words) > 0 {
		pid, _ = number(words[len(words)-1])
	}
	return pid, nil
}

// Kill sends the signal, such as "TERM", to the service's process.
func (c *Client) Kill(ctx context.Context, signal string, s ServiceTarget) error {
	if err := s.check(); err != nil {
		return err
	}
	_, err := c.call(ctx, "kill", s.String(), signal, s.String())
	return err
}

// Enable undoes Disable. It answers success also for a label that nobody
// knows.
func (c *Client) Enable(ctx context.Context, s ServiceTarget) error { return c.about(ctx, "enable", s) }

// Disable forbids the label to be loaded, from now on and after every reboot,
// also with another plist. A service that is loaded is left alone.
func (c *Client) Disable(ctx context.Context, s ServiceTarget) error {
	return c.about(ctx, "disable", s)
}

func (c *Client) about(ctx context.Context, verb string, s ServiceTarget) error {
	if err := s.check(); err != nil {
		return err
	}
	_, err := c.call(ctx, verb, s.String(), s.String())
	return err
}

// Print tells the state of a service, or [ErrNotLoaded], or [ErrNoDomain].
func (c *Client) Print(ctx context.Context, s ServiceTarget) (*Service, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	out, err := c.call(ctx, "print", s.String(), s.String())
	if err != nil {
		return nil, err
	}
	svc, err := ParseService(out)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	return svc, nil
}

// PrintDisabled tells the labels that somebody enabled or disabled, and
// whether they are disabled.
func (c *Client) PrintDisabled(ctx context.Context, d DomainTarget) (map[string]bool, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	out, err := c.call(ctx, "print-disabled", d.String(), d.String())
	if err != nil {
		return nil, err
	}
	return ParseDisabled(out)
}

// List tells every service of the caller's own domain.
func (c *Client) List(ctx context.Context) ([]ListEntry, error) {
	out, err := c.call(ctx, "list", "")
	if err != nil {
		return nil, err
	}
	return ParseList(out)
}

// Getenv is the variable's value in the environment that launchd gives to
// what it starts in the caller's domain, "" if it is not set.
func (c *Client) Getenv(ctx context.Context, key string) (string, error) {
	out, err := c.call(ctx, "getenv", key, key)
	return strings.TrimSuffix(string(out), "\n"), err
}

// Setenv sets it, for what is started from now on and until logout. A key that
// is empty or has an equals sign is an [ErrBadTarget].
func (c *Client) Setenv(ctx context.Context, key, value string) error {
	if key == "" || strings.Contains(key, "=") {
		return fmt.Errorf("%w: %q is no name of a variable", ErrBadTarget, key)
	}
	_, err := c.call(ctx, "setenv", key, key, value)
	return err
}

// Unsetenv removes it.
func (c *Client) Unsetenv(ctx context.Context, key string) error {
	_, err := c.call(ctx, "unsetenv", key, key)
	return err
}
