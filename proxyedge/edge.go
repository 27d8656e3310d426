package proxyedge

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Edge is the client-facing half. Its zero value forwards everything and meters
// nothing. Set the fields before Serve and leave them alone afterwards; do not
// copy an Edge that has been used. Its functions are called by many goroutines
// at once, and so may be its methods.
type Edge struct {
	// Metered tells whether what goes to this host and port belongs to the
	// daemon. The host is in lower case, without trailing dot and brackets.
	// Nil: nothing is metered. It is called once a request and must be quick.
	Metered func(host string, port int) bool

	// Routes are base URLs. Nil: none, so that only a proxy's requests are
	// served.
	Routes []Route

	// RootCAs verify the targets that the edge itself speaks TLS with: those
	// of routes and of requests in absolute form. Nil: the system's.
	RootCAs *x509.CertPool

	// AllowLocal lets requests in absolute form reach loopback and
	// link-local addresses. False: they are refused, since a web page's
	// request may be among them. Those that go to a metered name over TLS
	// are not judged by its address.
	AllowLocal bool

	// Daemon tells where the daemon is now. An error means that none is
	// known, and why. It is called once a health probe, so it may read a
	// file. Nil: there is no daemon.
	Daemon func() (Daemon, error)

	// Key returns the secret shared with the daemon, or nothing while there
	// is none. It is called once a health probe and once an [Identify]
	// challenge. Nil or empty: nothing is chained and no challenge is
	// answered, since a daemon that cannot prove itself may be anybody.
	Key func() []byte

	// Probe checks the daemon's health within ctx. One that always returns
	// nil leaves it to the daemon's proof. Nil: GET d.HealthURL, directly,
	// must answer 200.
	Probe func(ctx context.Context, d Daemon) error

	// Dial opens the direct path, for instance [ParentProxy.DialContext].
	// Nil: a net.Dialer, which races IPv6 and IPv4 (RFC 8305).
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Parent is the proxy that the direct path takes, in place of Dial.
	// Besides tunnelling it forwards plain http requests, which many refuse
	// to tunnel. A Parent that is the edge itself is passed over. Nil: Dial.
	Parent *ParentProxy

	// Forbidden names further addresses of our own that no client may reach
	// through the edge; it sees resolved addresses. The edge's own address
	// and the two of the daemon are always refused. Nil: no others.
	Forbidden func(netip.AddrPort) bool

	HealthyTTL    time.Duration // how long a good verdict holds; zero: 1 s
	UnhealthyTTL  time.Duration // how long a bad verdict holds; zero: 200 ms
	ProbeTimeout  time.Duration // what a probe may cost a waiting client; zero: 250 ms
	ProofTimeout  time.Duration // connect to the daemon and verify its proof; zero: 1 s
	CommitTimeout time.Duration // from the client's last byte to the daemon's first; zero: 1 s
	HeadTimeout   time.Duration // for the whole request head; zero: 10 s
	DialTimeout   time.Duration // for the direct path; zero: 30 s
	LingerTimeout time.Duration // silence of the open half of a half-closed tunnel; zero: 1 h
	Grace         time.Duration // for open tunnels and requests when Serve ends; zero: 5 s, negative: none

	MaxHead   int // bytes of a request head; zero: 64 KiB
	KeepBytes int // bytes kept until the commit point; zero: 16 KiB

	// Release is called when many tunnels have fallen silent and let go of
	// their goroutines, whose memory the runtime still holds. A program that
	// does little else gives it back with debug.FreeOSMemory. Nil: nothing.
	Release func()

	// Logger receives events named edge.*. Nil: discard.
	Logger *slog.Logger

	once   sync.Once
	health health
	counts counts
	guard  guard
	crowd  crowd
	turns  turns
	log    *slog.Logger

	sleepers sleepers
	lull     time.Duration // zero: the constant

	marker marker // of requests, in their Via

	inheriting sync.Mutex
	inherited  []*parcel // taken over, and not served yet
	upgrading  sync.Mutex
	exec       func(path string, argv, env []string) error // nil: execve(2)

	// dialDaemon replaces the connection to the daemon in tests that run on
	// a fake clock, where sockets cannot be used.
	dialDaemon func(ctx context.Context, address string) (net.Conn, error)
}

// Daemon says where a daemon listens.
type Daemon struct {
	Proxy     string // host:port of its [Receiver]
	HealthURL string // http URL that answers 200 while the daemon can meter; an [Edge.Probe] may do without
}

// init applies the defaults, once.
func (e *Edge) init() {
	e.once.Do(func() {
		setDefault(&e.HealthyTTL, time.Second)
		setDefault(&e.UnhealthyTTL, 200*time.Millisecond)
		setDefault(&e.ProbeTimeout, 250*time.Millisecond)
		setDefault(&e.ProofTimeout, time.Second)
		setDefault(&e.CommitTimeout, time.Second)
		setDefault(&e.HeadTimeout, 10*time.Second)
		setDefault(&e.DialTimeout, 30*time.Second)
		setDefault(&e.LingerTimeout, time.Hour)
		setDefault(&e.Grace, 5*time.Second)
		setDefault(&e.MaxHead, 64<<10)
		setDefault(&e.KeepBytes, 16<<10)
		setDefault(&e.lull, lull)
		e.sleepers.edge = e
		e.log = e.Logger
		if e.log == nil {
			e.log = slog.New(slog.DiscardHandler)
		}
		for _, r := range e.Routes {
			if _, _, err := r.host(); err != nil {
				e.log.Error("edge.route.unusable", "prefix", r.Prefix, "err", err)
			}
		}
		e.marker = newMarker()
		e.turns = make(turns, maxTurns)
		if e.Parent != nil {
			e.Dial = e.Parent.DialContext
		}
		e.health.configure(e)
		e.guard.configure(e)
		if e.dialDaemon == nil {
			var d net.Dialer
			e.dialDaemon = func(ctx context.Context, address string) (net.Conn, error) {
				return d.DialContext(ctx, "tcp", address)
			}
		}
	})
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Serve answers clients on ln until ctx ends. Then it stops accepting, gives
// open tunnels Grace to finish, closes what is left, and returns nil. It
// closes ln. A failing Accept is retried; only a listener that somebody else
// closed ends Serve with an error. Several listeners may be served at once.
func (e *Edge) Serve(ctx context.Context, ln net.Listener) error {
	e.init()
	defer e.guard.listen(ln.Addr())()

	// Requests outlive ctx by the grace; work ends when cut is called.
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()

	defer e.sleepers.open()()
	w := e.newWeb()
	defer w.close()
	var serving sync.WaitGroup
	d := e.crowd.open(ctx, ln)
	e.serveInherited(work, w, &serving)
	err := accept(ctx, d, e.log, func(conn net.Conn) {
		g := e.crowd.enter()
		serving.Go(func() { e.serveClient(work, g, conn, nil, w, &serving) })
	})
	d.guest.leave()

	if e.Grace > 0 {
		serving.Go(func() { w.shutdown(work) })
	}
	done := make(chan struct{})
	go func() { serving.Wait(); close(done) }()
	if e.Grace > 0 {
		timer := time.NewTimer(e.Grace)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
		}
	}
	cut()
	e.sleepers.wakeAll()
	<-done
	return err
}
