package meter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/haltonlabs/halton-meter/internal/reserved"
	"github.com/haltonlabs/halton-meter/internal/version"
	"github.com/haltonlabs/halton-meter/meter/ledger"
	"github.com/haltonlabs/halton-meter/proxyedge"
)

// state is what /health and admission look at.
type state struct {
	mu     sync.Mutex
	ready  bool
	drains bool
}

func (s *state) setReady() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = true
}

func (s *state) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drains = true
}

func (s *state) draining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drains
}

func (s *state) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.drains:
		return errDraining
	case !s.ready:
		return errors.New("starting")
	}
	return nil
}

// serve serves both ports until ctx ends or one of them fails, then drains.
func (d *daemon) serve(ctx context.Context) error {
	// The servers outlive ctx: a drain still answers /health and refuses
	// tunnels with a reason.
	base, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	failed := make(chan error, 2)
	var servers sync.WaitGroup
	servers.Go(func() {
		if err := d.apiServer().Serve(base, d.ports.Listener("api")); err != nil {
			failed <- fmt.Errorf("serve API: %w", err)
		}
	})
	receiver := &proxyedge.Receiver{Key: d.key, Admit: d.admit, Handle: d.handle, Logger: d.Logger}
	servers.Go(func() {
		if err := receiver.Serve(base, d.ports.Listener("internal")); err != nil {
			failed <- fmt.Errorf("serve tunnels: %w", err)
		}
	})
	d.state.setReady()
	d.Logger.Info("daemon.startup.ready",
		"version", version.Version, "pid", os.Getpid(),
		"internal_port", d.ports.Port("internal"), "api_port", d.ports.Port("api"))

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		d.Logger.Error("daemon.serve.failed", "error", err)
	}
	err = errors.Join(err, d.drain(base))
	stop()
	servers.Wait()
	d.Logger.Info("daemon.exit", "error", errorText(err))
	return err
}

// handle serves one tunnel that was admitted.
func (d *daemon) handle(ctx context.Context, conn net.Conn, c proxyedge.Chain) {
	if c.Host == reserved.Metered && !c.Plain {
		answerSelfTest(ctx, conn, d.ca)
		return
	}
	defer d.clients.leave(c)
	d.mitm.Handle(ctx, conn, c)
}

// drain lets open exchanges end and stores every row.
func (d *daemon) drain(ctx context.Context) error {
	d.state.drain()
	began := time.Now()
	d.Logger.Info("daemon.drain.start")
	open, cancel := context.WithTimeout(ctx, d.DrainTimeout)
	defer cancel()
	// An exchange that does not end in time is cut, and has its row all the
	// same: as one that did not come to its end.
	if err := d.mitm.Shutdown(open); err != nil {
		d.Logger.Warn("daemon.drain.cut", "error", err)
	}
	d.introductions.end()
	store, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err := d.tap.Close(store)
	err = errors.Join(err, d.closeLedger(store))
	d.learned.close()
	d.Logger.Info("daemon.drain.end", "duration_ms", time.Since(began).Milliseconds(), "error", errorText(err))
	return err
}

// closeLedger closes the ledger. Rows that got no further than the journal
// are stored by the next daemon: that is no failure of this one.
func (d *daemon) closeLedger(ctx context.Context) error {
	err := d.ledger.Close(ctx)
	if errors.Is(err, ledger.ErrJournaled) {
		d.Logger.Warn("daemon.drain.journaled", "error", err)
		return nil
	}
	return err
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
