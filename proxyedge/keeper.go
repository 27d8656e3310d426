package proxyedge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// keeper is a chained tunnel before its commit point. One goroutine offers
// the client's bytes to the daemon and keeps them; the other waits for the
// daemon's first byte and settles.
type keeper struct {
	tunnel *tunnel // its far end is the daemon
	where  Daemon
	host   string
	port   int

	mu      sync.Mutex // orders deadlines and keeping before the settlement
	settled chan struct{}
	up      sync.WaitGroup // the offering goroutine
	outcome outcome
	kept    []byte // nil once committed: a silent client may hold it for hours

	done func()      // ends the turn; nil: none was taken
	idle *time.Timer // calls it, unless the client begins; nil: it has begun

	// The offering goroutine's, until it has returned.
	offered int    // how much was read of the client
	unsent  []byte // the end of it, which the daemon has not got
	gone    error  // what ended the client's sending
	notTLS  bool
}

// outcome is what became of an offer.
type outcome int

const (
	committed   outcome = iota
	lost                // the daemon has failed
	interrupted         // by an upgrade or a lull: it is offered anew
	slept               // until somebody speaks
)

func (k *keeper) run(ctx context.Context) (asleep bool) {
	t := k.tunnel
	defer k.endTurn()
	defer func() {
		if !asleep {
			t.end()
		}
	}()
	stop := context.AfterFunc(ctx, func() { t.far.conn.Close() })
	defer stop()
	t.guest.attend(t.interrupt)
	switch o, why := k.offerAll(ctx); o {
	case committed:
		return t.relayOn(ctx, &k.up)
	case slept:
		return true
	default:
		t.far.conn.Close()
		return k.goDirect(ctx, why)
	}
}

// offerAll waits for the outcome, and tells why a daemon is lost.
func (k *keeper) offerAll(ctx context.Context) (outcome, error) {
	t := k.tunnel
	for {
		k.settled = make(chan struct{})
		if k.offered == 0 && k.gone == nil {
			t.edge.sleepers.watch(t) // until the client begins
		}
		k.up.Go(k.relayUp)
		b, n, err := t.far.next(bufferSize)
		t.edge.sleepers.forget(t)
		switch {
		case err == nil:
			t.downward.pending = bytes.Clone(b[:n])
			buffers.Put(b)
			t.countDown(n)
			k.settle(committed)
			t.tally.metering()
			t.edge.counts.on(true)
			return committed, nil
		case t.guest.interrupted(err):
			k.settle(interrupted)
			k.up.Wait()
			if k.offered == 0 && k.gone == nil && t.doze(ctx, k.resume, k.run) {
				return slept, nil
			}
			if k.notTLS || k.gone != nil && !errors.Is(k.gone, io.EOF) ||
				!t.guest.rest(ctx, k.parcel(), k.resume) {
				return lost, err
			}
		default:
			k.settle(lost)
			t.guest.deadline(func() { t.client.conn.SetReadDeadline(longAgo) })
			k.up.Wait()
			t.guest.deadline(func() { t.client.conn.SetReadDeadline(time.Time{}) })
			return lost, err
		}
	}
}

// resume sets the deadlines after an interruption.
func (k *keeper) resume() {
	k.tunnel.settle()
	if k.offered > 0 || k.gone != nil {
		k.tunnel.far.conn.SetDeadline(time.Now().Add(k.tunnel.edge.CommitTimeout))
	}
}

// goDirect repairs a chain that failed before its commit point. The client
// has its answer already, so that a failure from here on is a reset.
func (k *keeper) goDirect(ctx context.Context, why error) (asleep bool) {
	t, e := k.tunnel, k.tunnel.edge
	if k.gone != nil || ctx.Err() != nil {
		t.tally.abort()
		t.client.conn.Close()
		return false
	}
	not := &unmetered{ReasonNotTLS, errNotTLS}
	if !k.notTLS {
		not = &unmetered{ReasonChainFailed, fmt.Errorf("wait for daemon's first byte: %w", why)}
		e.chainFailed(ctx, k.where, k.host, not)
	}
	k.endTurn() // only now, lest the next one try that daemon too
	return k.repair(ctx, not)
}

// repair dials the destination. An upgrade interrupts it, and it is begun anew.
func (k *keeper) repair(ctx context.Context, not *unmetered) (asleep bool) {
	t, e := k.tunnel, k.tunnel.edge
	for {
		dialing, cancel := context.WithCancel(ctx)
		t.guest.attend(cancel)
		upstream, err := e.dialDirect(dialing, k.host, k.port)
		broke := err != nil && dialing.Err() != nil && t.guest.isWoken()
		cancel()
		switch {
		case broke && t.guest.rest(ctx, k.lostParcel(not), func() { t.client.conn.SetDeadline(time.Time{}) }):
			continue
		case err != nil:
			t.tally.fail()
			e.log.Info("edge.dial.failed", "host", k.host, "err", err)
			reset(t.client.conn)
			return false
		}
		t.tally.passthrough(not)
		t.reach(upstream)
		t.upward.pending = k.kept
		return t.run(ctx)
	}
}

func (k *keeper) settle(o outcome) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.outcome = o
	if o != lost {
		k.endTurn()
	}
	if o == committed {
		k.tunnel.guest.deadline(func() { k.tunnel.far.conn.SetDeadline(time.Time{}) })
		k.kept = nil
	}
	close(k.settled)
}

func (k *keeper) endTurn() {
	if k.done != nil {
		k.done()
	}
}

// keep keeps a copy of b for the direct path, as long as that may be taken.
func (k *keeper) keep(b []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	select {
	case <-k.settled:
		if k.outcome == committed {
			return
		}
	default:
	}
	k.kept = append(k.kept, b...)
}

// arm starts the daemon's clock anew.
func (k *keeper) arm(timeout time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	select {
	case <-k.settled:
	default:
		k.tunnel.guest.deadline(func() { k.tunnel.far.conn.SetDeadline(time.Now().Add(timeout)) })
	}
}

// relayUp is the client's direction: before the commit point it keeps what it
// forwards, after it it only relays.
func (k *keeper) relayUp() {
	k.offer()
	<-k.settled
	if k.outcome != committed {
		return
	}
	t := k.tunnel
	t.upward.pending, k.unsent = k.unsent, nil
	switch {
	case k.gone == nil:
		t.relayUp()
	case errors.Is(k.gone, io.EOF):
		t.upward.ended = true
		t.finish(t.far, t.client)
	default:
		t.stop(k.gone)
	}
}

// offer forwards and keeps until the matter is settled, the client has
// stopped sending, or no more can be kept.
func (k *keeper) offer() {
	e, t := k.tunnel.edge, k.tunnel
	if len(k.unsent) > 0 && !k.forward(k.unsent) {
		return
	}
	for k.offered < e.KeepBytes && k.gone == nil {
		select {
		case <-k.settled:
			return
		default:
		}
		b, n, err := t.client.next(e.KeepBytes - k.offered)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return // woken by run
		}
		if k.offered == 0 {
			t.edge.sleepers.forget(t) // the daemon's clock runs from here on
		}
		if err != nil {
			k.gone = err
			if errors.Is(err, io.EOF) {
				closeWrite(t.far.conn)
				k.arm(e.CommitTimeout)
			} else {
				k.arm(-time.Hour) // reset: nobody waits any more
			}
			return
		}
		if k.offered == 0 && k.idle != nil {
			k.idle.Stop()
		}
		k.keep(b[:n])
		t.countUp(n)
		k.notTLS = k.offered == 0 && b[0] != tlsHandshake
		k.offered += n
		ok := k.forward(b[:n])
		buffers.Put(b)
		if !ok {
			return
		}
	}
}

// forward gives the daemon what was read last. A daemon that does not take it
// has failed, which run notices by the same deadline.
func (k *keeper) forward(b []byte) bool {
	if k.notTLS {
		k.arm(-time.Hour)
		return false
	}
	timeout := k.tunnel.edge.CommitTimeout
	k.arm(timeout)
	n, err := k.tunnel.far.conn.Write(b)
	k.unsent = nil
	if n < len(b) {
		k.unsent = bytes.Clone(b[n:])
	}
	k.arm(timeout) // counts from the last byte forwarded
	return err == nil
}
