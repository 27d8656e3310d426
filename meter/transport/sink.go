package transport

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
)

// A Sink takes records. It is called by one goroutine at a time.
type Sink interface {
	Record(Record)
}

// SinkFunc makes a Sink of a function.
type SinkFunc func(Record)

// Record implements Sink.
func (f SinkFunc) Record(r Record) { f(r) }

// outbox brings records to the Sink, one after the other, in a goroutine that
// lives while there are some. Whoever puts one in never waits.
type outbox struct {
	sink Sink
	log  *slog.Logger
	max  int

	mu      sync.Mutex
	pending []Record
	busy    bool // run is running
	taken   bool // the Sink has one at hand
	flushes []flush
	counts  Stats
}

// flush waits until so many records have gone out.
type flush struct {
	after int64
	done  chan struct{}
}

func (o *outbox) put(r Record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.pending) >= o.max {
		o.counts.Dropped++
		o.log.Warn("transport.record.dropped", "id", r.ID, "dropped", o.counts.Dropped)
		return
	}
	o.pending = append(o.pending, r)
	if !o.busy {
		o.busy = true
		go o.run()
	}
}

func (o *outbox) run() {
	for {
		o.mu.Lock()
		if len(o.pending) == 0 {
			o.busy, o.pending = false, nil
			o.mu.Unlock()
			return
		}
		r := o.pending[0]
		o.pending[0], o.taken = Record{}, true
		o.pending = o.pending[1:]
		o.mu.Unlock()
		o.deliver(r)
	}
}

// deliver survives the Sink: a panic in a goroutine would end the program.
func (o *outbox) deliver(r Record) {
	defer func() {
		p := recover()
		o.mu.Lock()
		defer o.mu.Unlock()
		o.taken = false
		if p == nil {
			o.counts.Recorded++
		} else {
			o.counts.Panicked++
			o.log.Error("transport.sink.panicked", "id", r.ID, "panic", fmt.Sprintf("%T", p))
		}
		o.flushes = slices.DeleteFunc(o.flushes, func(f flush) bool {
			if f.after > o.out() {
				return false
			}
			close(f.done)
			return true
		})
	}()
	o.sink.Record(r)
}

// out is how many records the Sink has had. The caller holds o.mu.
func (o *outbox) out() int64 { return o.counts.Recorded + o.counts.Panicked }

// flush waits until the Sink has had what was put in before.
func (o *outbox) flush(ctx context.Context) error {
	o.mu.Lock()
	waiting := len(o.pending)
	if o.taken {
		waiting++
	}
	if waiting == 0 {
		o.mu.Unlock()
		return nil
	}
	f := flush{o.out() + int64(waiting), make(chan struct{})}
	o.flushes = append(o.flushes, f)
	o.mu.Unlock()
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("flush %d records: the sink is slow: %w", waiting, context.Cause(ctx))
	}
}

func (o *outbox) stats() Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.counts
}
