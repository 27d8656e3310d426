package meter

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/haltonlabs/halton-meter/meter/attribution/peer"
)

// patience is how long a connection is looked for before it passes without a
// known program: its look is late, and the traffic needs the processor more.
const patience = time.Second

// A pause after a look is so many times as long as the look took: however many
// programs connect, looking for them takes no more than a quarter of one
// processor. It is at most maxPause, so that who comes in it has the answer
// within the head start, if looks take what they usually do.
const (
	pauseFactor = 3
	maxPause    = 20 * time.Millisecond
)

// lookout finds the programs behind connections, one look at a time: a look
// goes through all processes, and a burst of connections must not take the
// processors away from the traffic. Those that come during a look are served
// together by the next one, which begins after their arrival.
type lookout struct {
	look func(...netip.AddrPort) (map[netip.AddrPort]peer.Process, error)
	log  *slog.Logger

	mu      sync.Mutex
	waiting []*inquiry
	looking bool
}

type inquiry struct {
	addr   netip.AddrPort
	answer chan sight // has room for the one answer
}

// sight is what a look saw of one connection.
type sight struct {
	process peer.Process
	found   bool
}

// find waits for the next look, at most for as long as there is patience.
func (l *lookout) find(addr netip.AddrPort) (peer.Process, bool) {
	q := &inquiry{addr, make(chan sight, 1)}
	l.mu.Lock()
	l.waiting = append(l.waiting, q)
	if !l.looking {
		l.looking = true
		go l.run()
	}
	l.mu.Unlock()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case s := <-q.answer:
		return s.process, s.found
	case <-timeout.C:
	}
	l.mu.Lock()
	l.waiting = slices.DeleteFunc(l.waiting, func(w *inquiry) bool { return w == q })
	l.mu.Unlock()
	return peer.Process{}, false
}

// run looks until nobody waits.
func (l *lookout) run() {
	for {
		l.mu.Lock()
		batch := l.waiting
		l.waiting = nil
		if len(batch) == 0 {
			l.looking = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()

		began := time.Now()
		found := l.guarded(batch)
		for _, q := range batch {
			p, ok := found[q.addr]
			q.answer <- sight{p, ok}
		}
		time.Sleep(min(pauseFactor*time.Since(began), maxPause))
	}
}

// guarded looks for a batch. A panic in it, over something that a process says
// of itself, must not end the daemon and with it everybody's connections.
func (l *lookout) guarded(batch []*inquiry) (found map[netip.AddrPort]peer.Process) {
	defer func() {
		if p := recover(); p != nil {
			l.log.Error("attribution.look.panicked", "panic", fmt.Sprintf("%T", p))
		}
	}()
	addrs := make([]netip.AddrPort, len(batch))
	for i, q := range batch {
		addrs[i] = q.addr
	}
	found, err := l.look(addrs...)
	if err != nil {
		l.log.Warn("attribution.look.failed", "error", err)
	}
	return found
}
