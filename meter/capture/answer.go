package capture

import (
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// smallBuffer is what every response holds from its begin to its end,
	// most of the time to wait for the next event.
	smallBuffer = 4 << 10
	// largeBuffer is what one has while more comes than that. A TLS record and
	// an HTTP/2 frame have at most 16 KiB.
	largeBuffer = 16 << 10
)

// answer is the client's side of an exchange. It keeps net/http from adding
// to the header what the provider did not send.
type answer struct {
	http.ResponseWriter
	x *exchange

	// The header is flushed in a goroutine of its own, by ReverseProxy or by
	// flushSoon, and they do not know of elastic's writes.
	mu    sync.Mutex
	begun bool // the header was flushed
	due   bool // by flushSoon
}

// Unwrap lets http.ResponseController hijack.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) WriteHeader(status int) {
	if status >= 200 {
		h := a.Header()
		for _, name := range []string{"Date", "Content-Type", "Content-Length"} {
			if _, ok := h[name]; !ok {
				h[name] = nil // sent by nobody, computed by nobody
			}
		}
		if a.x.tunnel.multiplex == nil && a.x.i.drain.isDraining() {
			h["Connection"] = []string{"close"}
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ResponseWriter.Write(p)
}

// FlushError is what http.ResponseController calls.
func (a *answer) FlushError() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.flush()
}

func (a *answer) flush() error {
	flush := http.NewResponseController(a.ResponseWriter).Flush
	if a.begun {
		return flush()
	}
	// net/http needs a deep stack to write a header. This goroutine may wait
	// for events for hours, and would keep it.
	a.begun = true
	var err error
	var header sync.WaitGroup
	header.Go(func() { err = flush() })
	header.Wait()
	return err
}

// soon is how long a piece of an answer may wait for the next one, which most
// of the time is there already: they then leave together.
const soon = time.Millisecond

// flushSoon flushes unless the function that it returns is called soon.
func (a *answer) flushSoon() (forget func()) {
	a.mu.Lock()
	a.due = true
	a.mu.Unlock()
	timer := time.AfterFunc(soon, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.due {
			a.flush() // what is wrong, the next write finds out
		}
	})
	return func() {
		timer.Stop()
		a.mu.Lock()
		a.due = false
		a.mu.Unlock()
	}
}

// watched is a response's body that tells how it ended.
type watched struct {
	io.ReadCloser
	ended func(error)
}

func (b *watched) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.ended(err)
	}
	return n, err
}

// buffers implements httputil.BufferPool.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[smallBuffer]byte); ok {
		return p[:]
	}
	return make([]byte, smallBuffer)
}

func (b *buffers) Put(p []byte) { b.pool.Put((*[smallBuffer]byte)(p)) }

// elastic is a response's body for ReverseProxy, which holds one buffer as
// long as it copies: a small one. When a Read has filled that, more is likely
// to be there, and the next one passes it on by itself through a large one.
//
// ReverseProxy flushes after each piece of a stream, but not of a body whose
// length is known. Such a one is mostly short, and comes together with its head:
// then it leaves so too, in one write.
type elastic struct {
	io.ReadCloser
	to    *answer
	large *sync.Pool // of *[largeBuffer]byte
	full  bool
	known bool  // its length
	broke error // to be returned by the next Read
}

func (b *elastic) Read(p []byte) (n int, err error) {
	if b.known {
		defer b.to.flushSoon()()
	}
	switch {
	case b.broke != nil:
		err = b.broke
	case b.full:
		n, err = b.pass(p)
	default:
		n, err = b.ReadCloser.Read(p)
	}
	b.full = n == len(p)
	if b.known && err != nil && err != io.EOF {
		// What came before the error is the client's; net/http throws away what
		// an aborted answer has not flushed.
		if n > 0 {
			b.broke = err
			return n, nil
		}
		_ = b.to.FlushError() // the client may be gone too
	}
	return n, err
}

// pass writes to the client until what comes fits into p.
func (b *elastic) pass(p []byte) (int, error) {
	large, ok := b.large.Get().(*[largeBuffer]byte)
	if !ok {
		large = new([largeBuffer]byte)
	}
	defer b.large.Put(large)
	for {
		n, ended := b.ReadCloser.Read(large[:])
		if n <= len(p) {
			return copy(p, large[:n]), ended
		}
		if _, err := b.to.Write(large[:n]); err != nil {
			return 0, err
		}
		if err := b.to.FlushError(); err != nil {
			return 0, err
		}
		if ended != nil {
			return 0, ended
		}
	}
}
