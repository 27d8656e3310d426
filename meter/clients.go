package meter

import (
	"net/netip"
	"sync"
	"time"

	"github.com/haltonlabs/halton-meter/internal/process"
	"github.com/haltonlabs/halton-meter/meter/attribution"
	"github.com/haltonlabs/halton-meter/proxyedge"
)

// headStart is how long a new tunnel waits for its client to be found. A
// client may end with its answer, and a provider that is near answers in less
// time than a busy machine takes to look through its processes. It is paid
// once a connection, by clients that named no project, and mostly not at all:
// the look takes about as long as the client's part of the TLS handshake.
const headStart = 50 * time.Millisecond

// longStart is the same where it matters who the client is: one that does not
// trust us would fail if it were taken for another. The edge waits a second
// for our consent.
const longStart = 700 * time.Millisecond

// clients knows the project of each open tunnel. Finding it takes
// milliseconds, so each tunnel has a goroutine for it.
type clients struct {
	projects projects
	lookout  lookout

	mu   sync.Mutex
	open map[netip.AddrPort]*client
}

// client is the program behind a tunnel. The rest is set when found is closed.
type client struct {
	found           chan struct{}
	facts           attribution.Facts
	project, source string
	program         string
	pid             int
	started         time.Time // zero if it cannot be told
}

// arrive begins to look for a tunnel's client, and returns when it is found or
// has had its head start; nobody waits for one that named its project, unless
// it must be known.
func (c *clients) arrive(t proxyedge.Chain, must bool) *client {
	cl := &client{found: make(chan struct{})}
	c.mu.Lock()
	if c.open == nil {
		c.open = map[netip.AddrPort]*client{}
	}
	c.open[t.Client] = cl
	c.mu.Unlock()
	go func() {
		defer close(cl.found)
		cl.facts.ProxyUser = t.User
		if p, ok := c.lookout.find(t.Client); ok {
			cl.facts.EnvProject, cl.facts.Dir = p.Project, p.Dir
			cl.facts.Workspace, cl.facts.Label = p.Workspace, p.Label
			cl.program = p.Program
			cl.pid = p.PID
			cl.started, _ = process.StartTime(p.PID) // zero with an error
		}
		cl.project, cl.source = c.projects.resolve(cl.facts)
	}()
	wait := headStart
	if must {
		wait = longStart
	}
	if _, err := attribution.Slug(t.User); err != nil || must {
		select {
		case <-cl.found:
		case <-time.After(wait):
		}
	}
	return cl
}

// leave forgets the client of a tunnel that has ended.
func (c *clients) leave(t proxyedge.Chain) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, t.Client)
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

// what is the client's program if it is found already, else "".
func (cl *client) what() string {
	if cl == nil {
		return ""
	}
	select {
	case <-cl.found:
		return cl.program
	default:
		return ""
	}
}
