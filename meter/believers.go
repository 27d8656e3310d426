package meter

import (
	"sync"
	"time"
)

// maxBelievers is how many processes are remembered. One that was forgotten is
// only guessed about again.
const maxBelievers = 4096

// believers knows the processes that have sent a request under our certificate
// for a host. What such a one leaves without a word is no refusal: a client of
// HTTP/2 that begins with many requests at once opens a connection for each,
// and closes all but the first unused.
type believers struct {
	mu   sync.Mutex
	seen map[believer]bool
	ring []believer
	next int
	// hosts are those for which anybody trusts us.
	hosts map[string]bool
}

// believer is a process that trusts us for a host. Its start tells it from a
// later one with its number.
type believer struct {
	host    string
	pid     int
	started time.Time
}

func (b *believers) add(who believer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hosts == nil {
		b.hosts = map[string]bool{}
	}
	b.hosts[who.host] = true
	if who.pid == 0 {
		return
	}
	if b.seen[who] {
		return
	}
	if b.seen == nil {
		b.seen, b.ring = map[believer]bool{}, make([]believer, maxBelievers)
	}
	delete(b.seen, b.ring[b.next])
	b.seen[who], b.ring[b.next] = true, who
	b.next = (b.next + 1) % maxBelievers
}

// has reports whether who trusts us. Whoever cannot be found may be anybody
// that does: a client that has closed its connection has left no trace.
func (b *believers) has(who believer) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen[who] || who.pid == 0 && b.hosts[who.host]
}

// looked reports whether the client was looked for to the end.
func (cl *client) looked() bool {
	if cl == nil {
		return false
	}
	select {
	case <-cl.found:
		return true
	default:
		return false
	}
}

// believes is who the client is to the believers; nobody if it is not found.
func (cl *client) believes(host string) believer {
	if !cl.looked() {
		return believer{}
	}
	return believer{host, cl.pid, cl.started}
}

// introductions are those of clients that are not found yet.
type introductions struct {
	work sync.WaitGroup
	mu   sync.Mutex
	stop chan struct{}
	over bool
}

// await runs f when the client is found, or as one of whom nothing is known.
// What a client does with our certificate is often seen before it is found,
// and must not be held against all who are not found yet.
func (n *introductions) await(cl *client, f func()) {
	if cl == nil {
		f()
		return
	}
	select {
	case <-cl.found:
		f()
		return
	default:
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.over {
		return
	}
	if n.stop == nil {
		n.stop = make(chan struct{})
	}
	stop := n.stop
	n.work.Go(func() {
		select {
		case <-cl.found:
		case <-time.After(findTimeout):
		case <-stop:
			return
		}
		f()
	})
}

// end lets nobody in any more, and returns when all is quiet.
func (n *introductions) end() {
	n.mu.Lock()
	if !n.over && n.stop != nil {
		close(n.stop)
	}
	n.over = true
	n.mu.Unlock()
	n.work.Wait()
}
