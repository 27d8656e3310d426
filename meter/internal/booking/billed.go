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
	seen map[string]bool
	ring []string
	next int
}

// first reports whether the response has no cost in any row yet, and notes
// that it has one from now on. Without an id every response is a first.
func (b *billed) first(provider, responseID string) bool {
	if responseID == "" {
		return true
	}
	key := provider + " " + responseID
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen[key] {
		return false
	}
	if b.seen == nil {
		b.seen, b.ring = map[string]bool{}, make([]string, maxBilled)
	}
	delete(b.seen, b.ring[b.next])
	b.seen[key], b.ring[b.next] = true, key
	b.next = (b.next + 1) % maxBilled
	return true
}
