// Package capture reads along with TLS connections to LLM providers and
// changes nothing about them.
//
// An Interceptor takes the tunnels that a proxyedge.Receiver has proved. It
// terminates TLS with a leaf of the local authority, forwards each HTTP
// exchange over its own verified connection to the provider, and gives a
// metered one's bodies to a tap, which gets copies and is never waited for:
//
//	i := &capture.Interceptor{
//		Authority: authority,
//		Tap:       &tap.Tap{Done: store, NewParser: parser},
//		Metered:   provider.IsMetered,
//	}
//	r := &proxyedge.Receiver{Key: key, Admit: i.Admit, Handle: i.Handle}
//	go r.Serve(ctx, ln)
//	…
//	i.Shutdown(drainCtx)
//
// # What unchanged means
//
// The provider gets the request line's path and query byte for byte, the
// header fields as they were sent (spelt canonically, as net/http does) with
// nothing added, the body with the framing that it had, and trailers,
// 100-continue and upgrades. The client gets the same of the response, each
// piece as soon as it has arrived, or at most a millisecond later where the
// body's length is known. A client that speaks HTTP/1.1 is served
// over HTTP/1.1, one that speaks HTTP/2 over HTTP/2 if the provider can.
// Fields that belong to one connection (RFC 9110, section 7.6.1) end there;
// "Connection: keep-alive" and "Connection: close" are said on both. Lost are
// what net/http does not tell: the reason phrase of a status line, the
// Content-Length and Content-Type of a 304, and the Expect of an HTTP/2
// request, whose body then comes at once.
//
// # WebSockets
//
// An upgrade is forwarded as it is, and whatever the two ends agree on is
// theirs. On a metered WebSocket each response makes a record, which is opened
// before the message that asks for it goes on. A refused upgrade makes a
// record as any exchange. WebSocket over HTTP/2 (RFC 8441) is not offered, so
// that clients use HTTP/1.1 for it.
//
// With IncludeUsage, and only then, one kind of request is changed: see there.
//
// # Tunnels in clear
//
// A tunnel that is Plain carries HTTP without TLS: its client uses a base URL
// of the edge's. Its exchanges are treated as all others are, and go to the
// provider over TLS.
//
// # What is not intercepted
//
// Whatever is not plainly ours becomes a blind tunnel, and Counters tells how
// often and why: another port than 443, a host outside of the authority's
// name constraints, bytes that are no TLS, a server name that differs from
// the tunnel's host (as with an encrypted ClientHello), a client that offers
// no protocol or cipher in common. The provider is dialled only then.
//
// # When the provider fails
//
// The exchange is aborted: an HTTP/1.1 client sees its connection close, an
// HTTP/2 client a reset stream, as if the provider had done it. No answer is
// invented, and nothing is sent a second time unless RFC 9110 allows it and
// the provider cannot have seen it. A provider whose certificate does not
// verify is not talked to; Admit then refuses its tunnels, so that the edge
// goes direct and the client judges for itself, until it verifies again.
//
// # What it does not do
//
// It does not resolve projects, prices or storage, and reads no environment.
// What follows an upgrade to anything but a metered WebSocket passes unread,
// and is counted.
package capture

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"maps"
	"net"
	"net/http/httputil"
	"sync"
	"sync/atomic"

	"github.com/haltonlabs/halton-meter/meter/ca"
	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/meter/tap"
	"github.com/haltonlabs/halton-meter/proxyedge"
)

// Interceptor serves tunnels to metered hosts. Its fields must not change
// once Handle was called; it must not be copied.
type Interceptor struct {
	// Authority mints the certificates that clients see. Required.
	Authority *ca.Authority
	// Tap gets the metered exchanges. Nil: everything is only forwarded.
	Tap *tap.Tap
	// Metered reports whether connections to a host and port are to be
	// intercepted. Nil means provider.IsMetered.
	Metered func(host string, port int) bool
	// Lookup finds what a request is metered as; one that it does not know
	// is forwarded without a record. Nil means provider.Lookup.
	Lookup func(method, host, path string) (provider.Endpoint, bool)
	// Opened is called with each exchange that will make a record, before it
	// is forwarded: the place for a journal. The relay waits for it.
	Opened func(*tap.Exchange)
	// IncludeUsage makes streams name their usage that would not, where
	// provider.Endpoint.HidesUsage: the request is changed to ask for it, and
	// what that adds to the response is taken out before the client gets it.
	// Nothing else here changes a byte of an exchange.
	IncludeUsage bool
	// NewID makes the ids of exchanges. Nil means random UUIDs.
	NewID func() string

	// Dial connects to providers. Nil means a net.Dialer, which tries IPv6
	// and IPv4 as RFC 8305 says. No environment variable is asked for a
	// proxy: the user's may name our own edge.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// RootCAs verify providers. Nil means the operating system's.
	RootCAs *x509.CertPool

	// Rejected is called when a client seems not to trust our certificate:
	// sure if it said so in a TLS alert, a guess if it just left during the
	// handshake or without a request after it, as one does that only opened a
	// connection ahead of its need. Nil: nobody cares.
	Rejected func(c proxyedge.Chain, sure bool)
	// Trusted is called with the first request of a TLS tunnel, whose client does
	// trust our certificate: a guess about it before was wrong. Nil: as above.
	Trusted func(c proxyedge.Chain)
	// Logger receives events named capture.*. Nil: discard.
	Logger *slog.Logger

	once     sync.Once
	base     context.Context // of what runs beside the tunnels
	stop     context.CancelFunc
	tls      *tls.Config
	upstream *upstream
	proxy    *httputil.ReverseProxy
	server   *service  // of the clients with HTTP/1.1
	small    buffers   // for ReverseProxy
	large    sync.Pool // of *[largeBuffer]byte

	bypass bypass
	counts counts
	drain  drain
	wake   wakeDetector
}

// counts are the events since the start.
type counts struct {
	intercepted, plain, rejected, exchanges, upgraded, failed atomic.Int64

	mu       sync.Mutex
	tunneled map[string]int64
}

// Counters says what became of the tunnels and exchanges so far.
type Counters struct {
	// Intercepted counts tunnels whose TLS was terminated here.
	Intercepted int64
	// Plain counts those whose client spoke HTTP in clear.
	Plain int64
	// Tunneled counts those that were passed through blindly, by reason:
	// "port", "unmetered", "unpermitted", "bypassed", "not-tls", "sni",
	// "protocol" or "leaf".
	Tunneled map[string]int64
	// Rejected counts handshakes that clients broke off.
	Rejected int64
	// Exchanges counts those that were opened to make a record; Upgraded the
	// connections that switched to another protocol (WebSocket); Failed all
	// exchanges, metered or not, in which the provider failed.
	Exchanges, Upgraded, Failed int64
}

// Counters returns the counts up to now.
func (i *Interceptor) Counters() Counters {
	c := Counters{
		Intercepted: i.counts.intercepted.Load(),
		Plain:       i.counts.plain.Load(),
		Rejected:    i.counts.rejected.Load(),
		Exchanges:   i.counts.exchanges.Load(),
		Upgraded:    i.counts.upgraded.Load(),
		Failed:      i.counts.failed.Load(),
		Tunneled:    make(map[string]int64),
	}
	i.counts.mu.Lock()
	defer i.counts.mu.Unlock()
	maps.Copy(c.Tunneled, i.counts.tunneled)
	return c
}

// setup runs before everything else, once.
func (i *Interceptor) setup() {
	i.once.Do(func() {
		if i.Logger == nil {
			i.Logger = slog.New(slog.DiscardHandler)
		}
		if i.Metered == nil {
			i.Metered = provider.IsMetered
		}
		if i.Lookup == nil {
			i.Lookup = provider.Lookup
		}
		if i.NewID == nil {
			i.NewID = randomUUID
		}
		if i.Dial == nil {
			i.Dial = dialer.DialContext
		}
		i.base, i.stop = context.WithCancel(context.Background())
		i.tls = &tls.Config{
			NextProtos:         []string{"h2", "http/1.1"},
			GetConfigForClient: inspect,
			GetCertificate:     present,
		}
		i.upstream = newUpstream(i.Dial, i.RootCAs)
		i.proxy = i.newProxy()
		i.server = i.newService()
	})
}

// Handle serves one tunnel until its connection is closed, and closes it; it
// has the signature of proxyedge.Receiver.Handle. The end of ctx does not cut
// the tunnel, since answers may be on their way: Shutdown does.
func (i *Interceptor) Handle(_ context.Context, conn net.Conn, c proxyedge.Chain) {
	i.setup()
	t := &tunnel{Conn: conn, i: i, chain: c, done: make(chan struct{})}
	if !i.drain.add(t) {
		conn.Close()
		return
	}
	defer i.drain.remove(t)
	defer t.Close()

	if c.Plain {
		i.handlePlain(t)
		return
	}
	if reason := i.blind(c); reason != "" {
		i.relay(t, reason)
		return
	}
	// In a goroutine of its own, so that this one, which stays for as long as
	// the connection, does not keep the deep stack of a handshake.
	secure := tls.Server(t, i.tls)
	var err error
	var greeting sync.WaitGroup
	greeting.Go(func() { err = secure.HandshakeContext(i.base) })
	greeting.Wait()
	if t.ours {
		i.drain.end() // began in inspect
	}
	switch {
	case err == nil:
		i.counts.intercepted.Add(1)
		if t.SetDeadline(noDeadline) == nil && i.takeOver(t, secure) {
			<-t.done
		}
		if t.requests.Load() == 0 {
			i.reject(c, errLeft)
		}
	case t.reason != "":
		i.relay(t, t.reason)
	case t.ours && (t.seen() || saidUntrusted(err)):
		i.reject(c, err)
	case t.ours:
		i.Logger.Info("capture.handshake.late", "host", c.Host, "error", err)
	case len(t.hello) > 0 && !(t.hello[0] == recordHandshake && isEnd(err)):
		// crypto/tls found no ClientHello in it, and the client is there.
		i.relay(t, "not-tls")
	}
}

// takeOver reports whether a server took the connection.
func (i *Interceptor) takeOver(t *tunnel, secure *tls.Conn) bool {
	if secure.ConnectionState().NegotiatedProtocol == "h2" {
		i.serveMultiplex(t, secure)
		return true
	}
	return i.server.queue.put(secure)
}

// handlePlain serves a tunnel whose client speaks HTTP in clear. There is no
// certificate of ours that it could reject, and no blind tunnel for it, since
// the provider expects TLS: Admit refuses what is not to be intercepted.
func (i *Interceptor) handlePlain(t *tunnel) {
	t.ours = true
	i.counts.plain.Add(1)
	if i.server.queue.put(t) {
		<-t.done
	}
}

// blind returns why a tunnel is passed through whatever the client sends, or
// "" if that is still to be seen.
func (i *Interceptor) blind(c proxyedge.Chain) string {
	switch {
	case c.Port != 443:
		return "port"
	case !i.Metered(c.Host, c.Port):
		return "unmetered"
	case !i.Authority.Permits(c.Host):
		return "unpermitted"
	case i.bypass.reason(c.Host) != "":
		return "bypassed"
	}
	return ""
}
