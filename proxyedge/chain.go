package proxyedge

import (
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
func (e *Edge) chain(ctx context.Context, req *request) (func(context.Context), *unmetered) {
	if len(req.early) > 0 && req.early[0] != tlsHandshake {
		return nil, &unmetered{ReasonNotTLS, errNotTLS}
	}
	daemon, where, not := e.admit(ctx, req)
	if not != nil {
		return nil, not
	}
	return e.startChain(req, daemon, where), nil
}

// admit connects to the daemon and makes it prove itself and admit the
// request. Nothing of what the client sent reaches the daemon before.
func (e *Edge) admit(ctx context.Context, req *request) (net.Conn, Daemon, *unmetered) {
	v := e.health.check(ctx)
	if v.not != nil {
		return nil, v.daemon, v.not
	}
	daemon, not := e.handshake(ctx, v, req)
	if not != nil && (not.reason == ReasonUnproven || not.reason == ReasonChainFailed) {
		// Any other reason is our daemon's own word: it is well.
		e.chainFailed(ctx, v.daemon, req.host, not)
	}
	return daemon, v.daemon, not
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
func (e *Edge) startChain(req *request, daemon net.Conn, d Daemon) func(context.Context) {
	if _, err := io.WriteString(req.client, established); err != nil {
		req.tally.abort()
		req.client.Close()
		daemon.Close()
		return nil
	}
	k := &keeper{
		tunnel: e.newTunnel(req),
		client: newEnd(req.client), daemon: newEnd(daemon),
		where: d, host: req.host, port: req.port,
		early:   req.early,
		settled: make(chan struct{}),
	}
	return k.run
}

// keeper is a chained tunnel before its commit point. One goroutine offers
// the client's bytes to the daemon and keeps them; the other waits for the
// daemon's first byte and settles.
type keeper struct {
	tunnel         *tunnel
	client, daemon *end
	where          Daemon
	host           string
	port           int

	mu        sync.Mutex // orders deadlines and keeping before the settlement
	settled   chan struct{}
	committed bool
	kept      []byte // nil once committed: a silent client may hold it for hours

	// The offering goroutine's, until it has returned.
	early  []byte
	gone   error // what ended the client's sending
	notTLS bool
}

func (k *keeper) run(ctx context.Context) {
	defer k.tunnel.end()
	stop := context.AfterFunc(ctx, func() { k.daemon.conn.Close() })
	defer stop()

	var up sync.WaitGroup
	up.Go(func() { k.relayUp() })
	b, n, err := k.daemon.next(bufferSize)
	k.settle(err == nil)
	if err == nil {
		k.tunnel.tally.metering()
		k.tunnel.edge.counts.on(true)
		_, err := k.client.conn.Write(b[:n])
		buffers.Put(b)
		if err != nil {
			reset(k.client.conn)
			reset(k.daemon.conn)
		} else {
			k.tunnel.countDown(n)
			k.tunnel.relayDown(k.client, k.daemon)
		}
		up.Wait()
		k.client.conn.Close()
		k.daemon.conn.Close()
		return
	}

	k.daemon.conn.Close()
	k.client.conn.SetReadDeadline(time.Unix(1, 0))
	up.Wait()
	k.client.conn.SetReadDeadline(time.Time{})
	k.goDirect(ctx, err)
}

// goDirect repairs a chain that failed before its commit point. The client
// has its answer already, so that a failure from here on is a reset.
func (k *keeper) goDirect(ctx context.Context, why error) {
	t, e := k.tunnel, k.tunnel.edge
	if k.gone != nil || ctx.Err() != nil {
		t.tally.abort()
		k.client.conn.Close()
		return
	}
	not := &unmetered{ReasonNotTLS, errNotTLS}
	if !k.notTLS {
		not = &unmetered{ReasonChainFailed, fmt.Errorf("wait for daemon's first byte: %w", why)}
		e.chainFailed(ctx, k.where, k.host, not)
	}
	upstream, err := e.dialDirect(ctx, k.host, k.port)
	if err != nil {
		t.tally.fail()
		e.log.Info("edge.dial.failed", "host", k.host, "err", err)
		reset(k.client.conn)
		return
	}
	t.tally.passthrough(not)
	t.direct(ctx, k.client.conn, upstream, k.kept)
}

func (k *keeper) settle(committed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.committed = committed
	if committed {
		k.daemon.conn.SetDeadline(time.Time{})
		k.kept = nil
	}
	close(k.settled)
}

// keep keeps a copy of b for the direct path, as long as it may be taken.
func (k *keeper) keep(b []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.committed {
		k.kept = append(k.kept, b...)
	}
}

// arm starts the daemon's clock anew.
func (k *keeper) arm(timeout time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	select {
	case <-k.settled:
	default:
		k.daemon.conn.SetDeadline(time.Now().Add(timeout))
	}
}

// relayUp is the client's direction: before the commit point it keeps what it
// forwards, after it it only relays.
func (k *keeper) relayUp() {
	k.offer()
	<-k.settled
	if !k.committed {
		return
	}
	switch {
	case k.gone == nil:
		k.tunnel.relayUp(k.client, k.daemon)
	case errors.Is(k.gone, io.EOF):
		k.tunnel.finish(k.daemon, k.client)
	default:
		reset(k.client.conn)
		reset(k.daemon.conn)
	}
}

// offer forwards and keeps until the matter is settled, the client has
// stopped sending, or no more can be kept.
func (k *keeper) offer() {
	e := k.tunnel.edge
	offered := len(k.early)
	if offered > 0 {
		k.keep(k.early)
		k.tunnel.countUp(offered)
		if !k.forward(k.early) {
			return
		}
		k.early = nil
	}
	for offered < e.KeepBytes {
		select {
		case <-k.settled:
			return
		default:
		}
		b, n, err := k.client.next(e.KeepBytes - offered)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return // woken by run
		}
		if err != nil {
			k.gone = err
			if errors.Is(err, io.EOF) {
				closeWrite(k.daemon.conn)
				k.arm(e.CommitTimeout)
			} else {
				k.arm(-time.Hour) // reset: nobody waits any more
			}
			return
		}
		k.keep(b[:n])
		k.tunnel.countUp(n)
		k.notTLS = offered == 0 && b[0] != tlsHandshake
		offered += n
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
	_, err := k.daemon.conn.Write(b)
	k.arm(timeout) // counts from the last byte forwarded
	return err == nil
}
