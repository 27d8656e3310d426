package proxyedge

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	here  = Daemon{Proxy: "127.0.0.1:1", HealthURL: "http://127.0.0.1:2/"}
	there = Daemon{Proxy: "127.0.0.1:3", HealthURL: "http://127.0.0.1:4/"}
)

// probed is an edge whose probes are counted and answered by answer. Only its
// health cache is used.
type probed struct {
	*Edge
	probes atomic.Int32
	mu     sync.Mutex
	daemon Daemon
	answer func(context.Context) error
}

// will sets the answer of the probes to come; nil is good.
func (p *probed) will(answer func(context.Context) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func newProbed() *probed {
	p := &probed{daemon: here}
	p.Edge = &Edge{
		Daemon: func() (Daemon, error) { return p.daemon, nil },
		Key:    func() []byte { return testKey },
		Probe: func(ctx context.Context, _ Daemon) error {
			p.probes.Add(1)
			p.mu.Lock()
			answer := p.answer
			p.mu.Unlock()
			if answer == nil {
				return nil
			}
			return answer(ctx)
		},
	}
	p.init()
	return p
}

// expect checks the verdict, what it cost, and how many probes there have been.
func (p *probed) expect(t *testing.T, good bool, cost time.Duration, probes int32) {
	t.Helper()
	start := time.Now()
	v := p.Edge.health.check(t.Context())
	if v.good() != good || time.Since(start) != cost || p.probes.Load() != probes {
		t.Errorf("good=%t after %v and %d probes, want %t after %v and %d (%+v)",
			v.good(), time.Since(start), p.probes.Load(), good, cost, probes, v.not)
	}
}

func refusing(context.Context) error { return errors.New("connection refused") }

// hanging obeys its deadline, as a good probe does.
func hanging(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func TestHealthTTLs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProbed()
		p.expect(t, true, 0, 1)
		time.Sleep(time.Second - 1)
		p.expect(t, true, 0, 1)
		time.Sleep(1)
		p.will(refusing)
		p.expect(t, false, 0, 2)
		time.Sleep(200*time.Millisecond - 1)
		p.expect(t, false, 0, 2)
		time.Sleep(1)
		p.will(nil)
		p.expect(t, true, 0, 3)
	})
}

func TestHealthAsksOnceForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProbed()
		p.will(func(context.Context) error { time.Sleep(100 * time.Millisecond); return nil })
		var waiting sync.WaitGroup
		for range 1000 {
			waiting.Go(func() { p.expect(t, true, 100*time.Millisecond, 1) })
		}
		waiting.Wait()
		p.expect(t, true, 0, 1)
	})
}

func TestHealthTimeoutAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProbed()
		p.expect(t, true, 0, 1)
		time.Sleep(time.Second)

		p.will(hanging)
		p.expect(t, true, 250*time.Millisecond, 2) // the benefit of the doubt
		p.expect(t, true, 0, 2)
		time.Sleep(200 * time.Millisecond)
		p.expect(t, false, 250*time.Millisecond, 3) // only once
		p.expect(t, false, 0, 3)
		time.Sleep(200 * time.Millisecond)
		p.expect(t, false, 250*time.Millisecond, 4) // and never after a bad verdict

		time.Sleep(200 * time.Millisecond)
		p.will(nil)
		p.expect(t, true, 0, 5)
		time.Sleep(time.Second)
		p.will(hanging)
		p.expect(t, true, 250*time.Millisecond, 6) // recovery renews it
	})
}

func TestHealthFirstTimeoutDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProbed()
		p.will(hanging)
		p.expect(t, false, 250*time.Millisecond, 1)
	})
}

// A daemon that has moved gets no doubt on account of its former address.
func TestHealthTimeoutOfAnotherDaemonDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProbed()
		p.expect(t, true, 0, 1)
		time.Sleep(time.Second)
		p.daemon = there
		p.will(hanging)
		p.expect(t, false, 250*time.Millisecond, 2)
	})
}

// A probe that ignores its context costs its bound once, and is not asked
// again before it has returned.
func TestHealthProbeThatNeverReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProbed()
		p.expect(t, true, 0, 1)
		time.Sleep(time.Second)

		release := make(chan struct{})
		p.will(func(context.Context) error { <-release; return nil })
		p.expect(t, true, 250*time.Millisecond, 2)
		time.Sleep(200 * time.Millisecond)
		p.expect(t, false, 0, 2)
		time.Sleep(time.Minute)
		p.expect(t, false, 0, 2)

		close(release)
		synctest.Wait()
		time.Sleep(200 * time.Millisecond)
		p.expect(t, true, 0, 3)
	})
}

// Reading where the daemon is may hang as well, on a network home for instance.
func TestHealthLocateThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := newProbed()
		p.Edge.health.locate = func() (Daemon, error) { <-release; return here, nil }
		p.expect(t, false, 250*time.Millisecond, 0)
		close(release)
	})
}

func TestHealthFailedChainInvalidates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProbed()
		why := &unmetered{ReasonChainFailed, errors.New("refused")}
		p.expect(t, true, 0, 1)
		p.Edge.health.fail(here, why)
		p.expect(t, false, 0, 1)
		time.Sleep(200 * time.Millisecond)
		p.expect(t, true, 0, 2)

		// A failure at an address that the daemon has left says nothing.
		p.Edge.health.fail(there, why)
		p.expect(t, true, 0, 2)
	})
}

// A good result that was under way when a chain failed comes too late.
func TestHealthFailedChainVoidsTheProbeInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProbed()
		p.expect(t, true, 0, 1)
		time.Sleep(time.Second)
		p.will(func(context.Context) error { time.Sleep(100 * time.Millisecond); return nil })
		var waiting sync.WaitGroup
		waiting.Go(func() { p.expect(t, false, 100*time.Millisecond, 2) })
		synctest.Wait()
		p.Edge.health.fail(here, &unmetered{ReasonChainFailed, errors.New("refused")})
		p.expect(t, false, 0, 2)
		waiting.Wait()
		time.Sleep(100 * time.Millisecond)
		p.expect(t, true, 100*time.Millisecond, 3)
	})
}

// A client that gives up does not end the probe that others wait for.
func TestHealthClientGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProbed()
		p.will(func(context.Context) error { time.Sleep(100 * time.Millisecond); return nil })
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if v := p.Edge.health.check(ctx); v.good() {
			t.Error("a verdict before the probe has ended")
		}
		p.expect(t, true, 90*time.Millisecond, 1)
	})
}

func TestHealthOverHTTP(t *testing.T) {
	noLeaks(t)
	var status atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(status.Load()))
	}))
	defer server.Close()
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1") // must not be used
	for code, good := range map[int32]bool{200: true, 204: false, 301: false, 404: false, 503: false} {
		status.Store(code)
		if err := getHealth(t.Context(), Daemon{HealthURL: server.URL}); (err == nil) != good {
			t.Errorf("status %d: %v, want good=%t", code, err, good)
		}
	}
	if err := getHealth(t.Context(), Daemon{HealthURL: "http://" + closedPort(t)}); err == nil {
		t.Error("a refused health check is good")
	}
	if err := getHealth(t.Context(), Daemon{HealthURL: "://"}); err == nil {
		t.Error("no URL is good")
	}
}
