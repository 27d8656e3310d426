package proxyedge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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
