package meter

import (
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haltonlabs/halton-meter/meter/attribution"
	"github.com/haltonlabs/halton-meter/meter/attribution/peer"
	"github.com/haltonlabs/halton-meter/proxyedge"
)

// slowLook is a look through the processes that takes its time and finds
// everybody.
type slowLook struct {
	takes time.Duration
	do    func() // in the look

	mu      sync.Mutex
	now     int
	most    int     // at the same time
	batches [][]int // the ports asked for, by look
	began   []time.Duration
	start   time.Time
}

func (l *slowLook) find(addrs ...netip.AddrPort) (map[netip.AddrPort]peer.Process, error) {
	l.mu.Lock()
	l.now++
	l.most = max(l.most, l.now)
	var ports []int
	for _, a := range addrs {
		ports = append(ports, int(a.Port()))
	}
	l.batches, l.began = append(l.batches, ports), append(l.began, time.Since(l.start))
	l.mu.Unlock()
	time.Sleep(l.takes)
	if l.do != nil {
		l.do()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now--
	found := map[netip.AddrPort]peer.Process{}
	for _, a := range addrs {
		found[a] = peer.Process{Project: fmt.Sprintf("port-%d", a.Port()), Program: "/bin/tool"}
	}
	return found, nil
}

func (l *slowLook) clients() *clients {
	l.start = time.Now()
	return &clients{
		projects: newProjects(attribution.Resolver{}),
		lookout:  lookout{look: l.find, log: slog.New(slog.DiscardHandler)},
	}
}

// calm lets the last look's pause end, before the bubble does.
func calm() { time.Sleep(2 * maxPause) }

func tunnelOf(port int) proxyedge.Chain {
	return proxyedge.Chain{Host: "api.anthropic.com", Port: 443, Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))}
}

// A burst of tunnels has one look at a time, two looks for all, and nobody
// waits longer than the head start.
func TestBurstOfClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer calm()
		look := &slowLook{takes: 30 * time.Millisecond}
		c := look.clients()
		var all sync.WaitGroup
		for port := 1; port <= 200; port++ {
			all.Go(func() {
				began := time.Now()
				cl := c.arrive(tunnelOf(port), false)
				if took := time.Since(began); took > headStart {
					t.Errorf("tunnel %d waited %s", port, took)
				}
				<-cl.found
				if want := fmt.Sprintf("port-%d", port); cl.project != want || cl.source != attribution.SourceEnv || cl.what() != "/bin/tool" {
					t.Errorf("tunnel %d: %s by %s", port, cl.project, cl.source)
				}
			})
		}
		all.Wait()
		if look.most != 1 {
			t.Errorf("%d looks at the same time", look.most)
		}
		asked := 0
		for _, b := range look.batches {
			asked += len(b)
		}
		if len(look.batches) > 2 || asked != 200 {
			t.Errorf("%d looks for %d clients", len(look.batches), asked)
		}
	})
}

// Looks follow one another with pauses, whatever comes.
func TestLooksRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer calm()
		look := &slowLook{takes: 5 * time.Millisecond}
		c := look.clients()
		for port := range 100 {
			c.arrive(tunnelOf(port+1), false)
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		for i, at := range look.began[1:] {
			if gap := at - look.began[i]; gap < 20*time.Millisecond {
				t.Errorf("look %d began %s after the one before", i+1, gap)
			}
		}
		time.Sleep(time.Second)
		// Nobody is looked for any more; the next is served at once.
		began := time.Now()
		c.arrive(tunnelOf(1000), false)
		if took := time.Since(began); took != look.takes {
			t.Errorf("a lone tunnel waited %s, a look takes %s", took, look.takes)
		}
	})
}

// A look that hangs holds nobody up: tunnels go on after their head start,
// and after a while their clients count as unknown.
func TestLookHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer calm()
		hang := make(chan struct{})
		look := &slowLook{do: func() { <-hang }}
		c := look.clients()
		for port := 1; port <= 3; port++ {
			began := time.Now()
			cl := c.arrive(tunnelOf(port), false)
			if took := time.Since(began); took != headStart {
				t.Errorf("tunnel %d waited %s", port, took)
			}
			if _, _, ok := cl.now(); ok {
				t.Error("the client is known")
			}
			<-cl.found
			if took := time.Since(began); took != patience || cl.project != attribution.DefaultProject {
				t.Errorf("tunnel %d: %s after %s", port, cl.project, took)
			}
		}
		close(hang)
		synctest.Wait()
		if len(look.batches) != 1 {
			t.Errorf("looked for clients that nobody asks for any more: %v", look.batches)
		}
		time.Sleep(maxPause)
		if cl := c.arrive(tunnelOf(9), false); cl.project != "port-9" {
			t.Errorf("after it: %s", cl.project)
		}
	})
}

// A look that panics finds nobody, and the next one looks again.
func TestLookPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer calm()
		look := &slowLook{}
		look.do = func() {
			look.mu.Lock()
			defer look.mu.Unlock()
			if look.now--; len(look.batches) == 1 {
				panic("hostile")
			}
			look.now++
		}
		c := look.clients()
		cl := c.arrive(tunnelOf(1), false)
		if <-cl.found; cl.project != attribution.DefaultProject {
			t.Errorf("project %s", cl.project)
		}
		if cl := c.arrive(tunnelOf(2), false); cl.project != "port-2" {
			t.Errorf("project %s", cl.project)
		}
	})
}

// A named project waits for nobody, unless the program matters.
func TestNamedProjectDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer calm()
		c := (&slowLook{takes: time.Hour}).clients()
		named := tunnelOf(1)
		named.User = "billing"
		for must, want := range map[bool]time.Duration{false: 0, true: longStart} {
			began := time.Now()
			cl := c.arrive(named, must)
			if took := time.Since(began); took != want {
				t.Errorf("must %v: waited %s", must, took)
			}
			if <-cl.found; cl.project != "billing" {
				t.Errorf("project %s", cl.project)
			}
		}
		time.Sleep(2 * time.Hour)
	})
}

// Where no slot becomes free, because all file systems hang, the answer comes
// in time all the same, from what needs no files.
func TestResolveIsBounded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shop")
	synctest.Test(t, func(t *testing.T) {
		p := newProjects(attribution.Resolver{Default: "rest"})
		facts := attribution.Facts{Dir: dir}
		if project, source := p.resolve(facts); project != "shop" || source != attribution.SourceWorkDir {
			t.Errorf("%s by %s", project, source)
		}
		for range maxResolving {
			p.slots <- struct{}{}
		}
		began := time.Now()
		if project, source := p.resolve(facts); project != "rest" || source != attribution.SourceDefault {
			t.Errorf("%s by %s", project, source)
		}
		if took := time.Since(began); took != resolveTimeout {
			t.Errorf("took %s", took)
		}
	})
}
