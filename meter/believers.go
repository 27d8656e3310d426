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
}

// believer is a process that trusts us for a host. Its start tells it from a
// later one with its number.
type believer struct {
	host    string
	pid     int
	started time.Time
}

func (b *believers) add(who believer) {
	if who.pid == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
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

func (b *believers) has(who believer) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen[who]
}

// believes is who the client is to the believers; nobody if it is not found.
func (cl *client) believes(host string) believer {
	if cl == nil {
		return believer{}
	}
	select {
	case <-cl.found:
		return believer{host, cl.pid, cl.started}
	default:
		return believer{}
	}
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
