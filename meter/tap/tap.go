package tap

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/haltonlabs/halton-meter/meter/provider"
)

// The bounds of a Tap whose fields are zero, in bytes.
const (
	DefaultMaxQueue = 16 << 20
	DefaultMaxTotal = 128 << 20
	DefaultMaxBody  = 16 << 20
)

// maxEvent bounds one event of a stream. OpenAI's response.completed repeats
// the whole answer and the instructions in one event.
const maxEvent = 16 << 20

// Tap makes Records out of exchanges. Its fields must not change once Start
// has been called; it must not be copied.
type Tap struct {
	// Done takes the record of a flow, once per flow and in the flow's own
	// goroutine. It may block: the relay does not notice. Nil discards.
	Done func(Record)
	// Void takes an exchange that turned out to be none, instead of Done: an
	// upgrade that became a WebSocket, a message there that asked for nothing.
	// Nil discards.
	Void func(Exchange)
	// NewParser makes the parser of an exchange. Nil asks the exchange's
	// Endpoint.
	NewParser func(Exchange) provider.Parser

	// MaxQueue is how many copied bytes of one flow may wait to be parsed;
	// 0 means DefaultMaxQueue, which is a whole body: on a busy machine a relay
	// passes megabytes on before the parser has its turn.
	MaxQueue int
	// MaxTotal is how much memory all flows may hold together for queued
	// bytes, kept bodies, unfinished events and decompression; 0 means
	// DefaultMaxTotal.
	MaxTotal int64
	// MaxBody is how many bytes, decompressed, are kept of a request's body
	// and of a response that is not a stream, without the rest of JSON's long
	// strings, such as images; 0 means DefaultMaxBody.
	MaxBody int
	// Logger takes what an operator should know. Nil discards.
	Logger *slog.Logger

	used      atomic.Int64
	chunks    sync.Pool
	unpackers sync.Pool
	decoding  sync.Mutex

	mu     sync.Mutex
	live   map[*Flow]struct{}
	closed bool
}

// Start opens the flow of an exchange that is about to be forwarded; latencies
// count from here. After Close it returns a flow that wraps nothing and makes
// no record.
func (t *Tap) Start(x Exchange) *Flow {
	f := &Flow{tap: t, exchange: x, start: time.Now(), finished: make(chan struct{})}
	f.cond.L = &f.mu
	t.register(f)
	return f
}

// register makes the flow one that Close and Flush know. After Close the flow
// stays inert.
func (t *Tap) register(f *Flow) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		f.inert = true
		t.logger().Warn("tap.flow.unmetered", "id", f.exchange.ID, "host", f.exchange.Host, "reason", "the tap is closed")
		return false
	}
	if t.live == nil {
		t.live = make(map[*Flow]struct{})
	}
	t.live[f] = struct{}{}
	return true
}

// Flush waits until every flow that was ended before the call has had its
// Done, and every response on a WebSocket that was, or until ctx is over.
func (t *Tap) Flush(ctx context.Context) error {
	var waiting []<-chan struct{}
	t.mu.Lock()
	for f := range t.live {
		if settled := f.settled(); settled != nil {
			waiting = append(waiting, settled)
		}
	}
	t.mu.Unlock()
	return wait(ctx, waiting)
}

// Close ends the flows that are still open, as ClientAborted, and waits until
// every flow has had its Done, or until ctx is over. Bodies that are wrapped
// already stay readable.
func (t *Tap) Close(ctx context.Context) error {
	var flows []*Flow
	t.mu.Lock()
	t.closed = true
	for f := range t.live {
		flows = append(flows, f)
	}
	t.mu.Unlock()

	var waiting []<-chan struct{}
	for _, f := range flows {
		f.End(ClientAborted, nil)
		waiting = append(waiting, f.finished)
	}
	return wait(ctx, waiting)
}

func wait(ctx context.Context, flows []<-chan struct{}) error {
	for i, finished := range flows {
		select {
		case <-finished:
		case <-ctx.Done():
			return fmt.Errorf("wait for %d records: %w", len(flows)-i, context.Cause(ctx))
		}
	}
	return nil
}

// deliver hands over a record.
func (t *Tap) deliver(r Record) {
	defer t.survive(r.ID)
	if t.Done != nil {
		t.Done(r)
	}
}

// void takes back an exchange.
func (t *Tap) void(x Exchange) {
	defer t.survive(x.ID)
	if t.Void != nil {
		t.Void(x)
	}
}

// survive recovers: a panic in a goroutine ends the process, and with it every
// open connection of the user.
func (t *Tap) survive(id string) {
	if p := recover(); p != nil {
		t.logger().Error("tap.done.panicked", "id", id, "panic", fmt.Sprintf("%T", p))
	}
}

// forget ends the flow's life.
func (t *Tap) forget(f *Flow) {
	t.mu.Lock()
	delete(t.live, f)
	t.mu.Unlock()
	close(f.finished)
}

func (t *Tap) newParser(x Exchange) provider.Parser {
	if t.NewParser != nil {
		return t.NewParser(x)
	}
	return x.Endpoint.NewParser()
}

func (t *Tap) maxQueue() int {
	if t.MaxQueue > 0 {
		return t.MaxQueue
	}
	return DefaultMaxQueue
}

func (t *Tap) maxTotal() int64 {
	if t.MaxTotal > 0 {
		return t.MaxTotal
	}
	return DefaultMaxTotal
}

func (t *Tap) maxBody() int {
	if t.MaxBody > 0 {
		return t.MaxBody
	}
	return DefaultMaxBody
}

func (t *Tap) logger() *slog.Logger {
	if t.Logger != nil {
		return t.Logger
	}
	return slog.New(slog.DiscardHandler)
}
