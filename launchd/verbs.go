package launchd

import (
	"bytes"
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
)

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
// not loaded is no error. It gives up after the service's exit timeout and
// 5 s, with [ErrInFlux].
func (c *Client) Bootout(ctx context.Context, s ServiceTarget) error {
	if err := s.check(); err != nil {
		return err
	}
	// The timeout counts from the bootout, and is not told after it.
	svc, err := c.Print(ctx, s)
	if errors.Is(err, ErrNotLoaded) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = c.call(ctx, "bootout", s.String(), s.String())
	if err != nil && !errors.Is(err, ErrNotLoaded) && !errors.Is(err, ErrInFlux) {
		// Another bootout may have won; then the label is gone.
		if _, perr := c.Print(ctx, s); errors.Is(perr, ErrNotLoaded) {
			return nil
		}
		return err
	}
	return c.waitGone(ctx, s, svc.teardown())
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

// waitGone waits until the label is free.
func (c *Client) waitGone(ctx context.Context, s ServiceTarget, budget time.Duration) error {
	if budget > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, budget, fmt.Errorf("%w: %s is still loaded %s after bootout", ErrInFlux, s, budget))
		defer cancel()
	}
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		_, err := c.Print(ctx, s)
		if errors.Is(err, ErrNotLoaded) {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// KickstartOptions are the flags of kickstart.
type KickstartOptions struct {
	// Kill restarts a service that runs: SIGTERM, and SIGKILL after its exit
	// timeout. It runs what is loaded, not what the plist says by now.
	Kill bool
}

// Kickstart starts the service now, which also ends what launchd puts off by
// itself, and returns its pid if launchctl tells it. A service that runs
// already is no error.
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
	// Field reports say 0 for a service that runs, launchctl's code 37.
	if errors.As(err, &e) && e.Code == codeAlready && !o.Kill {
		err = nil
	}
	if err != nil {
		return 0, err
	}
	pid, _ = number(string(bytes.TrimSpace(out)))
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
	return ParseService(out)
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

// Setenv sets it, for what is started from now on and until logout.
func (c *Client) Setenv(ctx context.Context, key, value string) error {
	_, err := c.call(ctx, "setenv", key, key, value)
	return err
}

// Unsetenv removes it.
func (c *Client) Unsetenv(ctx context.Context, key string) error {
	_, err := c.call(ctx, "unsetenv", key, key)
	return err
}
