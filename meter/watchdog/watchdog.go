// Package watchdog polls a service, acts once when it has died, and once when
// it is back.
//
//	w := watchdog.Watchdog{
//		Probe: func(ctx context.Context) error {
//			return watchdog.Get(ctx, client, "http://127.0.0.1:8765/health")
//		},
//		Down: disableSystemProxy,
//		Up:   enableSystemProxy,
//	}
//	err := w.Run(ctx)
//
// Dead means that nobody answers: connections are refused, or time out. A
// service that answers with an error is alive and speaks for itself, so an
// HTTP 503 is an answer. Errors that say nothing of the service, such as a
// lack of file descriptors here, count neither way.
//
// Run polls until its context ends and owns no goroutine beyond that. The
// actions run between two polls, on Run's own goroutine, so they never overlap
// and a slow one delays the next poll; they bound themselves. The package does
// not restart anything.
package watchdog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"
)

// The defaults of a Watchdog's zero fields.
const (
	DefaultInterval = 1500 * time.Millisecond
	DefaultTimeout  = time.Second
	DefaultFailures = 5
)

// Watchdog is what to watch and what to do. Probe is required.
type Watchdog struct {
	// Probe asks the service. Nil means that it answered, whatever the
	// answer was; see Get.
	Probe func(ctx context.Context) error
	// Interval is the time between polls, of which the first is at once.
	// Zero: DefaultInterval.
	Interval time.Duration
	// Timeout bounds the context of one probe. Zero: DefaultTimeout.
	Timeout time.Duration
	// Failures is how many probes in a row must be refused or time out
	// before the service counts as dead. Zero: DefaultFailures.
	Failures int
	// Down runs once when the service has died. If it fails it runs again at
	// the next poll, unless the service has answered. Nil: nothing.
	Down func(ctx context.Context) error
	// Up runs once when the service answers after a Down, also one that
	// failed, since that may have done half of its work. If Up fails, it
	// runs again at the next poll that is answered. Nil: nothing.
	Up func(ctx context.Context) error
	// StartDown says that an earlier process ran Down and not Up: the first
	// answer runs Up, and Down is not run again before it.
	StartDown bool
	// Logger receives each transition and each failed action. Nil: nothing
	// is logged.
	Logger *slog.Logger
}

// state is what the actions have made of the world.
type state int

const (
	up state = iota
	down
	unclear // an action failed
)

// Run polls until ctx ends, and then returns nil.
func (w Watchdog) Run(ctx context.Context) error {
	if w.Probe == nil {
		return errors.New("run watchdog: no probe")
	}
	w.setDefaults()
	var (
		failures int
		dead     = w.StartDown
		done     = up
	)
	if dead {
		done = down
	}
	tick := time.NewTicker(w.Interval)
	defer tick.Stop()
	for {
		err := w.probe(ctx)
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case err == nil:
			failures = 0
			if dead {
				dead = false
				w.Logger.Info("watchdog.service.up")
			}
			if done != up {
				done = w.act(ctx, "up", w.Up, up)
			}
		case noAnswer(err):
			failures++
			if !dead && failures >= w.Failures {
				dead = true
				w.Logger.Warn("watchdog.service.down", "failures", failures, "error", err)
			}
		default:
			w.Logger.Warn("watchdog.probe.unclear", "error", err)
		}
		if dead && done != down {
			done = w.act(ctx, "down", w.Down, down)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (w *Watchdog) setDefaults() {
	if w.Interval <= 0 {
		w.Interval = DefaultInterval
	}
	if w.Timeout <= 0 {
		w.Timeout = DefaultTimeout
	}
	if w.Failures <= 0 {
		w.Failures = DefaultFailures
	}
	if w.Logger == nil {
		w.Logger = slog.New(slog.DiscardHandler)
	}
}

func (w *Watchdog) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	return w.Probe(ctx)
}

// act runs an action and returns the state that it leaves.
func (w *Watchdog) act(ctx context.Context, name string, action func(context.Context) error, after state) state {
	if action == nil {
		return after
	}
	if err := action(ctx); err != nil {
		w.Logger.Error("watchdog.action.failed", "action", name, "error", err)
		return unclear
	}
	w.Logger.Info("watchdog.action.done", "action", name)
	return after
}

// noAnswer reports whether a probe's error means that nobody answers.
func noAnswer(err error) bool {
	var netErr net.Error
	return errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &netErr) && netErr.Timeout()
}

// Get is a probe over HTTP: any response, whatever its status, is an answer.
// The client should ignore the environment's proxy settings and follow no
// redirect.
func Get(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	// Read so that the connection can be kept, but not what a stranger on
	// the port may send without end.
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	return resp.Body.Close()
}
