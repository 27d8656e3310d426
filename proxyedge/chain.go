package proxyedge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

var errNotTLS = errors.New("the client does not speak TLS")

// chain connects to the daemon, makes it prove itself and admit the tunnel,
// and answers the client. It returns the tunnel to run, or why there is none.
func (e *Edge) chain(ctx context.Context, req *request) (errand, *unmetered) {
	if len(req.early) > 0 && req.early[0] != tlsHandshake {
		return nil, &unmetered{ReasonNotTLS, errNotTLS}
	}
	a, not := e.admit(ctx, req)
	if not != nil {
		return nil, not
	}
	return e.startChain(req, a), nil
}

// admitted is a connection to the daemon that may be used.
type admitted struct {
	daemon net.Conn
	where  Daemon
	done   func() // ends the turn, see turns
}

// admit connects to the daemon and makes it prove itself and admit the
// request. Nothing of what the client sent reaches the daemon before.
func (e *Edge) admit(ctx context.Context, req *request) (admitted, *unmetered) {
	v := e.health.check(ctx)
	if v.not != nil {
		return admitted{}, v.not
	}
	done, waited := e.turns.take(ctx)
	if waited {
		// Those before us may have found the daemon dead.
		if v = e.health.check(ctx); v.not != nil {
			done()
			return admitted{}, v.not
		}
	}
	daemon, not := e.handshake(ctx, v, req)
	if not != nil && (not.reason == ReasonUnproven || not.reason == ReasonChainFailed) {
		// Any other reason is our daemon's own word: it is well.
		e.chainFailed(ctx, v.daemon, req.host, not)
	}
	if not != nil {
		done()
	}
	return admitted{daemon, v.daemon, done}, not
}

// chainFailed takes the good verdict back, so that the next client need not
// find out for itself.
func (e *Edge) chainFailed(ctx context.Context, d Daemon, host string, not *unmetered) {
	if ctx.Err() != nil {
		return // our own end, not the daemon's
	}
	e.health.fail(d, not)
	e.counts.off(not, true)
	e.log.Warn("edge.chain.failed", "host", host, "reason", not.reason, "err", not.err)
}

func (e *Edge) handshake(ctx context.Context, v verdict, req *request) (_ net.Conn, not *unmetered) {
	ctx, cancel := context.WithTimeout(ctx, e.ProofTimeout)
	defer cancel()
	conn, err := e.dialDaemon(ctx, v.daemon.Proxy)
	if err != nil {
		return nil, &unmetered{ReasonChainFailed, fmt.Errorf("connect to daemon: %w", err)}
	}
	defer func() {
		if not != nil {
			conn.Close()
		}
	}()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	s := statement{nonce: newNonce(), authority: req.authority(), server: endpoint(conn.RemoteAddr())}
	who := particulars{User: req.user, Plain: req.plain}
	who.Client, _ = addrPort(req.client.RemoteAddr())
	sealed, err := seal(v.key, s, who)
	if err != nil {
		return nil, &unmetered{ReasonChainFailed, err}
	}
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s: %s\r\n%s: %s\r\n\r\n",
		s.authority, s.authority, headerNonce, s.nonce, headerClient, sealed); err != nil {
		return nil, &unmetered{ReasonChainFailed, fmt.Errorf("ask daemon: %w", err)}
	}
	raw, rest, err := readHead(conn, maxChainHead)
	if err != nil {
		return nil, &unmetered{ReasonChainFailed, fmt.Errorf("read daemon's answer: %w", err)}
	}
	status, answer, err := parseResponse(raw)
	if err != nil {
		return nil, &unmetered{ReasonUnproven, fmt.Errorf("read daemon's answer: %w", err)}
	}
	proof, _ := answer.one(headerProof)
	if status/100 == 2 && len(rest) == 0 {
		s.purpose = admission(req.plain)
		if s.proved(v.key, proof) && stop() {
			return conn, nil
		}
	} else {
		s.purpose = proofRefuse
		s.reason, _ = answer.one(headerReason)
		if s.proved(v.key, proof) {
			return nil, refusal(s.reason)
		}
	}
	return nil, &unmetered{ReasonUnproven, fmt.Errorf("no proof in daemon's answer with status %d", status)}
}

// refusal turns the daemon's text into a reason to count: the text itself if
// it is one short word.
func refusal(text string) *unmetered {
	not := &unmetered{ReasonRefused, fmt.Errorf("daemon refused: %s", text)}
	if isToken(text) && len(text) <= 32 {
		not.reason = text
	}
	return not
}

// startChain answers the client of a tunnel that the daemon has admitted. It
// returns nil if the client has gone.
func (e *Edge) startChain(req *request, a admitted) errand {
	if _, err := io.WriteString(req.client, established); err != nil {
		req.tally.abort()
		req.client.Close()
		a.daemon.Close()
		a.done()
		return nil
	}
	k := &keeper{
		tunnel: e.newTunnel(req), where: a.where, host: req.host, port: req.port,
		kept: req.early, unsent: req.early, offered: len(req.early), done: a.done,
	}
	if k.offered == 0 {
		k.idle = time.AfterFunc(idleTurn, a.done)
	}
	k.tunnel.reach(a.daemon)
	k.tunnel.countUp(k.offered)
	return k.run
}

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
	interrupted         // by an upgrade: it is offered anew
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
	why, ok := k.offerAll(ctx)
	if ok {
		// Here, and not deeper: a tunnel that relays for hours is to do so
		// within the smallest stack, as relayUp's does in a new goroutine.
		return t.relayOn(ctx, &k.up)
	}
	t.far.conn.Close()
	return k.goDirect(ctx, why)
}

// offerAll returns true when the tunnel is committed, else why it is not.
func (k *keeper) offerAll(ctx context.Context) (why error, ok bool) {
	t := k.tunnel
	for {
		k.settled = make(chan struct{})
		k.up.Go(k.relayUp)
		b, n, err := t.far.next(bufferSize)
		switch {
		case err == nil:
			t.downward.pending = bytes.Clone(b[:n])
			buffers.Put(b)
			t.countDown(n)
			// To move a deadline takes a deep stack, which would stay.
			var commit sync.WaitGroup
			commit.Go(func() {
				defer t.edge.survive(t.client.conn)
				k.settle(committed)
				t.tally.metering()
				t.edge.counts.on(true)
			})
			commit.Wait()
			return nil, true
		case t.guest.interrupted(err):
			k.settle(interrupted)
			k.up.Wait()
			if k.notTLS || k.gone != nil && !errors.Is(k.gone, io.EOF) ||
				!t.guest.rest(ctx, k.parcel(), k.resume) {
				return err, false
			}
		default:
			k.settle(lost)
			t.guest.deadline(func() { t.client.conn.SetReadDeadline(longAgo) })
			k.up.Wait()
			t.guest.deadline(func() { t.client.conn.SetReadDeadline(time.Time{}) })
			return err, false
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
		k.up.Go(t.relayUp)
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
