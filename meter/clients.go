package meter

import (
	"net/netip"
	"sync"
	"time"

	"github.com/haltonlabs/halton-meter/meter/attribution"
	"github.com/haltonlabs/halton-meter/meter/attribution/peer"
	"github.com/haltonlabs/halton-meter/proxyedge"
)

// headStart is how long a new tunnel waits for its client to be found. A
// client may end with its answer, and a provider that is near answers in less
// time than a busy machine takes to look through its processes. It is paid
// once a connection, by clients that named no project, and mostly not at all:
// the look takes about as long as the client's part of the TLS handshake.
const headStart = 50 * time.Millisecond

// clients knows the project of each open tunnel. Finding it takes
// milliseconds, so each tunnel has a goroutine for it.
type clients struct {
	resolver attribution.Resolver
	find     func(netip.AddrPort) (peer.Process, error)

	mu   sync.Mutex
	open map[netip.AddrPort]*client
}

// client is the program behind a tunnel. project and source are set when
// found is closed.
type client struct {
	found           chan struct{}
	project, source string
}

// arrive begins to look for a tunnel's client, and returns when it is found or
// has had its head start; leave forgets it.
func (c *clients) arrive(t proxyedge.Chain) (leave func()) {
	cl := &client{found: make(chan struct{})}
	c.mu.Lock()
	if c.open == nil {
		c.open = map[netip.AddrPort]*client{}
	}
	c.open[t.Client] = cl
	c.mu.Unlock()
	go func() {
		defer close(cl.found)
		facts := attribution.Facts{ProxyUser: t.User}
		// What the client said itself comes first: then nobody need look.
		if _, err := attribution.Slug(t.User); err != nil {
			if p, err := c.find(t.Client); err == nil {
				facts.EnvProject, facts.Dir = p.Project, p.Dir
			}
		}
		cl.project, cl.source = c.resolver.Resolve(facts)
	}()
	select {
	case <-cl.found:
	case <-time.After(headStart):
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.open[t.Client] == cl { // and not a later one from the same port
			delete(c.open, t.Client)
		}
	}
}

// of is the client of an open tunnel, nil if there is none.
func (c *clients) of(addr netip.AddrPort) *client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[addr]
}

// now is the client's project if it is found already.
func (cl *client) now() (project, source string, ok bool) {
	if cl == nil {
		return "", "", false
	}
	select {
	case <-cl.found:
		return cl.project, cl.source, true
	default:
		return "", "", false
	}
}
