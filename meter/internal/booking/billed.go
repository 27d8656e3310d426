package booking

import "sync"

// maxBilled is how many responses are remembered. Whoever polls a response
// does so within minutes.
const maxBilled = 4096

// billed remembers which responses have a row that bears their cost. A
// provider bills a response once, however often it is retrieved, and a client
// that waits for a background response retrieves it again and again.
type billed struct {
	mu   sync.Mutex
	seen map[string]bool // by a retrieval?
	ring []string
	next int
}

// first reports whether the exchange bears the response's cost, and notes that
// one does. Without an id each does; so does each that makes a response of its
// own, since there are servers that give all the same id. One that makes it
// may be booked after one that retrieves it, and then the cost is booked.
func (b *billed) first(provider, responseID string, retrieves bool) bool {
	if responseID == "" {
		return true
	}
	key := provider + " " + responseID
	b.mu.Lock()
	defer b.mu.Unlock()
	if byRetrieval, seen := b.seen[key]; seen {
		b.seen[key] = byRetrieval && retrieves
		return !retrieves && !byRetrieval
	}
	b.note(key, retrieves)
	return true
}

// note remembers a response in the place of the oldest one.
func (b *billed) note(key string, byRetrieval bool) {
	if b.seen == nil {
		b.seen, b.ring = map[string]bool{}, make([]string, maxBilled)
	}
	delete(b.seen, b.ring[b.next])
	b.ring[b.next] = key
	b.next = (b.next + 1) % maxBilled
	b.seen[key] = byRetrieval
}

// recall asks earlier about a response that is not remembered, and remembers
// it if that one knows it. The lock is not held meanwhile: earlier may look
// into a database.
func (b *billed) recall(provider, responseID string, earlier func(provider, responseID string) bool) {
	key := provider + " " + responseID
	known := func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		_, seen := b.seen[key]
		return seen
	}
	if known() || !earlier(provider, responseID) || known() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note(key, false)
}
