package capture

import (
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/haltonlabs/halton-meter/proxyedge"
)

// handshakeTime bounds a handshake from the client's first byte on. Before
// that byte it may wait as long as it likes: clients open connections ahead
// of their need.
const handshakeTime = time.Minute

var noDeadline time.Time

// tunnel is the client's connection. Until the ClientHello was inspected it
// keeps what it reads, and writes nothing: crypto/tls answers what it dislikes
// with an alert, which a client that is going to be tunnelled must not see.
type tunnel struct {
	net.Conn
	i     *Interceptor
	chain proxyedge.Chain

	// These belong to the handshake's goroutine, and do not change after it.
	hello  []byte // what was read, while nothing is decided
	ours   bool   // intercept
	reason string // why not
	leaf   *tls.Certificate
	alert  clearAlert
	// begun is when the client began, and answered when our answer did.
	begun, answered time.Time

	multiplex *multiplex // over it, once it is known to carry HTTP/2

	requests atomic.Int64 // that ever began
	before   int64        // how many did before the drain; needs its lock

	closing sync.Once
	done    chan struct{} // closed by Close
}

func (t *tunnel) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	if n > 0 && !t.ours {
		if len(t.hello) == 0 {
			t.begun = time.Now()
			t.SetDeadline(t.begun.Add(handshakeTime)) // fails only on a dead connection
		}
		t.hello = append(t.hello, p[:n]...)
	}
	if !t.chain.Plain && !t.alert.over {
		if alert := t.alert.watch(p[:n]); alert != nil && t.ours {
			return 0, alert
		}
	}
	return n, err
}

func (t *tunnel) Write(p []byte) (int, error) {
	if !t.ours {
		return len(p), nil
	}
	if t.answered.IsZero() {
		t.answered = time.Now()
	}
	return t.Conn.Write(p)
}

// patience is how long a client's edge surely waits for our first byte; later
// it may have gone direct, and the client have seen nothing of us.
const patience = 500 * time.Millisecond

// seen reports whether the client saw our answer to its ClientHello.
func (t *tunnel) seen() bool { return !t.answered.IsZero() && t.answered.Sub(t.begun) < patience }

// Close closes the connection, and ends Handle.
func (t *tunnel) Close() error {
	err := net.ErrClosed
	t.closing.Do(func() {
		err = t.Conn.Close()
		close(t.done)
	})
	return err
}

var errTunnel = errors.New("not to be intercepted")

// inspect decides on a ClientHello, before anything is answered.
func inspect(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	t := hello.Conn.(*tunnel)
	if t.reason = t.judge(hello); t.reason != "" {
		return nil, errTunnel
	}
	t.ours, t.hello = true, nil
	t.i.drain.begin() // a client with half a handshake is not idle
	return nil, nil
}

func (t *tunnel) judge(hello *tls.ClientHelloInfo) (reason string) {
	// An encrypted ClientHello (RFC 9849) names a public server, not the
	// host, on its outside; one whose extension is mere grease names the host.
	if name := hello.ServerName; name != "" && !strings.EqualFold(name, t.chain.Host) {
		return "sni"
	}
	if offered := hello.SupportedProtos; len(offered) > 0 &&
		!slices.Contains(offered, "h2") && !slices.Contains(offered, "http/1.1") {
		return "protocol"
	}
	leaf, err := t.i.Authority.Leaf(t.chain.Host)
	if err != nil {
		t.i.Logger.Error("capture.leaf.failed", "host", t.chain.Host, "error", err)
		return "leaf"
	}
	if err := hello.SupportsCertificate(leaf); err != nil {
		return "protocol"
	}
	t.leaf = leaf
	return ""
}

func present(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return hello.Conn.(*tunnel).leaf, nil
}

// errLeft is the doubt about a client that closed a new connection without a
// request. Node finishes the handshake before it looks at the certificate.
var errLeft = errors.New("left without a request")

func (i *Interceptor) reject(c proxyedge.Chain, err error) {
	if i.drain.isDraining() {
		return // it may have been us who left
	}
	sure := saidUntrusted(err)
	// A client that pins certificates may say with another alert that it
	// does not like ours, and one without a word leaves.
	if !sure && !isAlert(err) && !errors.Is(err, errLeft) && !isEnd(err) {
		i.Logger.Info("capture.handshake.failed", "host", c.Host, "error", err)
		return
	}
	i.counts.rejected.Add(1)
	i.Logger.Info("capture.handshake.rejected", "host", c.Host, "client", c.Client, "sure", sure, "error", err)
	if i.Rejected != nil {
		i.Rejected(c, sure)
	}
}
