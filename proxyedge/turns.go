package proxyedge

import (
	"context"
	"sync"
	"time"
)

const (
	// maxTurns is how many tunnels are set up with the daemon at a time. A
	// handshake takes the machine about a millisecond, and hundreds at once
	// would make each as late as the last: later than the daemon may be. So
	// they wait here, where no clock of theirs runs.
	maxTurns = 32
	// turnWait bounds that: whoever has waited so long goes on as it may.
	turnWait = 2 * time.Second
	// idleTurn is how long a client keeps its turn that sends nothing, such
	// as one that connects ahead of its need.
	idleTurn = 100 * time.Millisecond
)

// turns are those of the tunnels that are being set up.
type turns chan struct{}

// take waits for a turn, and says whether it had to. The turn lasts until done
// is called, which may be often.
func (t turns) take(ctx context.Context) (done func(), waited bool) {
	done = sync.OnceFunc(func() { <-t })
	select {
	case t <- struct{}{}:
		return done, false
	default:
	}
	timeout := time.NewTimer(turnWait)
	defer timeout.Stop()
	select {
	case t <- struct{}{}:
		return done, true
	case <-timeout.C:
	case <-ctx.Done():
	}
	return func() {}, true
}
