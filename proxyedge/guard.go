package proxyedge

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// errOwnAddress refuses a target that is ourselves: a loop, or a web page's
// way around the daemon's checks (CVE-2025-23217 of mitmproxy was that).
var errOwnAddress = errors.New("target is this proxy's own address")

// errLocalAddress refuses a target on this machine or this link that a client
// names in an http request, as a web page can make a browser do.
var errLocalAddress = errors.New("target is a local address")

// outsideKey marks the context of a dial whose target must not be local.
type outsideKey struct{}

// guard knows the addresses of our own. It judges resolved addresses, at the
// moment of connecting, so that no spelling and no name gets around it.
type guard struct {
	current   func(context.Context) Daemon // where the daemon is now; may wait for a probe
	located   func() Daemon                // where it was last
	forbidden func(netip.AddrPort) bool

	mu        sync.Mutex
	listening map[netip.AddrPort]int
}

func (g *guard) configure(e *Edge) {
	g.forbidden = e.Forbidden
	g.located = e.health.located
	g.current = func(ctx context.Context) Daemon {
		// Only for local targets, which are rare: the daemon may have
		// moved since its address was last needed.
		e.health.check(ctx)
		return e.health.located()
	}
}

// listen adds a listener's address until the returned function is called.
func (g *guard) listen(a net.Addr) func() {
	ap, ok := addrPort(a)
	if !ok {
		return func() {}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listening == nil {
		g.listening = make(map[netip.AddrPort]int)
	}
	g.listening[ap]++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.listening[ap]--; g.listening[ap] == 0 {
			delete(g.listening, ap)
		}
	}
}

// refuse returns errOwnAddress if ap is an address of our own, and
// errLocalAddress if it is local and that is not wanted.
func (g *guard) refuse(ctx context.Context, ap netip.AddrPort) error {
	ap = netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
	if err := g.refuseOwn(ctx, ap); err != nil {
		return err
	}
	outside, _ := ctx.Value(outsideKey{}).(bool)
	if ip := ap.Addr(); outside && (ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast()) {
		return errLocalAddress
	}
	return nil
}

func (g *guard) refuseOwn(ctx context.Context, ap netip.AddrPort) error {
	if g.forbidden != nil && g.forbidden(ap) {
		return errOwnAddress
	}
	// Any local address with one of our ports: a listener on 0.0.0.0 is
	// reached through all of them, and 0.0.0.0 itself reaches loopback.
	if !isLocal(ap.Addr()) {
		return nil
	}
	if g.ownsPort(ap.Port(), g.current(ctx)) {
		return errOwnAddress
	}
	return nil
}

// refuseName judges a name that somebody else will resolve, such as a parent
// proxy on this machine. Only a port of ours is worth the lookup, or a target
// that must not be local; where names cannot be looked up, that costs little.
func (g *guard) refuseName(ctx context.Context, host string, port int) error {
	loopback := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
	outside, _ := ctx.Value(outsideKey{}).(bool)
	if !outside && !g.ownsPort(loopback.Port(), g.located()) && (g.forbidden == nil || !g.forbidden(loopback)) {
		return nil
	}
	if outside {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Second)
		defer cancel()
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil // unknown here, so not ours
	}
	for _, ip := range ips {
		if err := g.refuse(ctx, netip.AddrPortFrom(ip, uint16(port))); err != nil {
			return err
		}
	}
	return nil
}

func (g *guard) ownsPort(port uint16, d Daemon) bool {
	g.mu.Lock()
	for own := range g.listening {
		if own.Port() == port {
			g.mu.Unlock()
			return true
		}
	}
	g.mu.Unlock()

	_, proxy, _ := net.SplitHostPort(d.Proxy)
	health := ""
	if u, err := url.Parse(d.HealthURL); err == nil && u.Host != "" {
		if health = u.Port(); health == "" {
			health = "80"
		}
	}
	text := strconv.Itoa(int(port))
	return text == proxy || text == health
}

// control is a net.Dialer's ControlContext, which sees each address that is
// about to be tried.
func (g *guard) control(ctx context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil // not TCP/IP, so not ours
	}
	return g.refuse(ctx, ap)
}

func isLocal(ip netip.Addr) bool {
	if ip.IsLoopback() || ip.IsUnspecified() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if own, ok := netip.AddrFromSlice(n.IP); ok && own.Unmap() == ip {
				return true
			}
		}
	}
	return false
}

// controlKey carries an edge's control through a context to the dialer of a
// ParentProxy, so that a parent that is the edge itself is refused too.
type controlKey struct{}

type controlFunc = func(ctx context.Context, network, address string, c syscall.RawConn) error

// guarded lets the dialers judge the addresses that they resolve.
func (e *Edge) guarded(ctx context.Context) context.Context {
	return context.WithValue(ctx, controlKey{}, e.guard.control)
}

// dialGuarded is the dialer of every direct path.
func dialGuarded(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	d.ControlContext, _ = ctx.Value(controlKey{}).(controlFunc)
	return d.DialContext(ctx, network, address)
}
