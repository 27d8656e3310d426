package proxyedge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// unmetered is why a tunnel is not metered: a reason to count, and an error
// to read.
type unmetered struct {
	reason string
	err    error
}

func (u *unmetered) detail() string {
	if u.err == nil {
		return ""
	}
	return oneLine(u.err.Error())
}

var errProbeTimeout = errors.New("health check timed out")

// verdict is what a probe found: the daemon and its key, or why not.
type verdict struct {
	daemon Daemon
	key    []byte
	not    *unmetered // nil: healthy
}

// health remembers the last verdict on the daemon. It asks only when somebody
// wants to know, and never twice at once. Good verdicts hold longer than bad
// ones, since a wrong good one costs a bounded wait and corrects itself at the
// first failed chain, and a wrong bad one costs metering.
type health struct {
	locate    func() (Daemon, error)
	key       func() []byte
	probe     func(ctx context.Context, d Daemon) error
	healthy   time.Duration
	unhealthy time.Duration
	timeout   time.Duration
	changed   func(verdict) // called with mu held, after each verdict

	mu     sync.Mutex
	last   verdict
	until  time.Time
	doubt  bool // last is good, and the probe after it timed out
	latest Daemon
	flight *flight
}

// flight is one probe. It is decided once, by its result or by its timeout,
// and lives on while a probe that ignores its context has not returned.
type flight struct {
	done    chan struct{}
	decided bool
	void    bool // a chain failed meanwhile: a good result comes too late
	daemon  Daemon
}

func (h *health) configure(e *Edge) {
	h.locate, h.key, h.probe = e.Daemon, e.key, e.Probe
	if h.locate == nil {
		h.locate = func() (Daemon, error) { return Daemon{}, errors.New("no daemon configured") }
	}
	if h.probe == nil {
		h.probe = getHealth
	}
	h.healthy, h.unhealthy, h.timeout = e.HealthyTTL, e.UnhealthyTTL, e.ProbeTimeout
	h.changed = func(v verdict) {
		if v.not == nil {
			e.counts.on(false)
		} else {
			e.counts.off(v.not, false)
		}
	}
}

// check returns the current verdict. It waits at most for one probe, which
// takes at most timeout.
func (h *health) check(ctx context.Context) verdict {
	h.mu.Lock()
	if time.Now().Before(h.until) {
		defer h.mu.Unlock()
		return h.last
	}
	f := h.flight
	switch {
	case f == nil:
		f = &flight{done: make(chan struct{})}
		h.flight = f
		go h.fly(f)
	case f.decided:
		// The probe before this one still hangs. Asking again would only
		// pile up goroutines: that it hangs is the answer.
		defer h.mu.Unlock()
		h.conclude(f, verdict{daemon: f.daemon, not: &unmetered{ReasonDaemonDown, errProbeTimeout}})
		return h.last
	}
	h.mu.Unlock()

	select {
	case <-f.done:
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.last
	case <-ctx.Done():
		return verdict{not: &unmetered{ReasonDaemonDown, context.Cause(ctx)}}
	}
}

func (h *health) fly(f *flight) {
	ctx, cancel := context.WithTimeout(context.Background(), h.timeout)
	defer cancel()
	timer := time.AfterFunc(h.timeout, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.decide(f, verdict{daemon: f.daemon, not: &unmetered{ReasonDaemonDown, errProbeTimeout}})
	})
	defer timer.Stop()

	v := h.ask(ctx, f)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.decide(f, v)
	h.flight = nil
}

// ask is the part that may hang: it reads files and talks to the daemon.
func (h *health) ask(ctx context.Context, f *flight) verdict {
	d, err := h.locate()
	if err != nil {
		return verdict{not: &unmetered{ReasonDaemonDown, fmt.Errorf("locate daemon: %w", err)}}
	}
	h.mu.Lock()
	f.daemon, h.latest = d, d
	h.mu.Unlock()

	key := h.key()
	if len(key) == 0 {
		return verdict{daemon: d, not: &unmetered{ReasonNoKey, errors.New("no key to prove the daemon with")}}
	}
	if err := h.probe(ctx, d); err != nil {
		var timeout net.Error
		if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
			err = errProbeTimeout
		}
		return verdict{daemon: d, not: &unmetered{ReasonDaemonDown, err}}
	}
	return verdict{daemon: d, key: key}
}

// decide ends the wait for a flight. The caller holds mu.
func (h *health) decide(f *flight, v verdict) {
	if f.decided {
		return
	}
	f.decided = true
	defer close(f.done)
	if f.void && v.not == nil {
		return
	}
	h.conclude(f, v)
}

// conclude makes v the verdict. One probe that times out after a good one
// decides nothing alone: a busy machine does that, and a chain that then
// fails corrects it. The caller holds mu.
func (h *health) conclude(f *flight, v verdict) {
	timedOut := v.not != nil && errors.Is(v.not.err, errProbeTimeout)
	if timedOut && !f.void && h.last.good() && !h.doubt && f.daemon == h.last.daemon {
		h.doubt = true
		h.until = time.Now().Add(h.unhealthy)
		return
	}
	h.doubt, h.last = false, v
	if v.good() {
		h.until = time.Now().Add(h.healthy)
	} else {
		h.until = time.Now().Add(h.unhealthy)
	}
	h.changed(v)
}

// good tells a healthy verdict from a bad one and from none.
func (v verdict) good() bool { return v.not == nil && v.daemon != Daemon{} }

// fail takes a good verdict on d back, because a chain to it failed.
func (h *health) fail(d Daemon, why *unmetered) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.flight != nil {
		h.flight.void = true
	}
	if h.last.daemon != d {
		return // the daemon has moved since
	}
	h.doubt, h.last = false, verdict{daemon: d, not: why}
	h.until = time.Now().Add(h.unhealthy)
}

// located is the last daemon that was known, healthy or not.
func (h *health) located() Daemon {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.latest
}

// getHealth is the default probe. It takes a new connection each time: one
// that is refused is the quickest sign that the daemon has died. The
// environment's proxy settings point at us and must not be used.
func getHealth(ctx context.Context, d Daemon) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.HealthURL, nil)
	if err != nil {
		return fmt.Errorf("check health: %w", err)
	}
	transport := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("check health: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return fmt.Errorf("check health: %s: %s", resp.Status, oneLine(string(why)))
	}
	return nil
}
