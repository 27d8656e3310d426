package tap

import (
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/haltonlabs/halton-meter/meter/provider"
)

// Flow is one exchange on its way through the relay. Its methods may be called
// from any goroutine.
type Flow struct {
	tap      *Tap
	exchange Exchange
	start    time.Time
	inert    bool
	finished chan struct{}

	mu        sync.Mutex
	cond      sync.Cond
	running   bool // its goroutine
	req, resp direction
	queued    int // bytes in req and resp
	dropped   int64

	reqHead, respHead head
	first, last       time.Duration // of the response, since start
	ended             bool
	voided            bool // it makes no record
	outcome           Outcome
	err               error

	socket *socket // nil: an HTTP exchange
}

// head is what a body's header says of it.
type head struct {
	seen        bool
	status      int
	contentType string
	encoding    []string
	origin      http.Header // of a request
	usage       http.Header // of a response
	errorCode   string      // of a response
}

// Request wraps the request's body, whose copy the parser gets before any of
// the response. A body of nil or http.NoBody is returned as it is, and so is
// every body after the first.
func (f *Flow) Request(h http.Header, body io.ReadCloser) io.ReadCloser {
	return f.wrap(&f.req, &f.reqHead, 0, h, body)
}

// Response wraps the response's body. A body of nil or http.NoBody is returned
// as it is, and so are the connection that follows a 101, which Upgrade wraps,
// and every body after the first.
func (f *Flow) Response(status int, h http.Header, body io.ReadCloser) io.ReadCloser {
	return f.wrap(&f.resp, &f.respHead, status, h, body)
}

func (f *Flow) wrap(d *direction, hd *head, status int, h http.Header, body io.ReadCloser) io.ReadCloser {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inert || f.ended || hd.seen {
		return body
	}
	*hd = head{seen: true, status: status, contentType: h.Get("Content-Type"), encoding: h.Values("Content-Encoding")}
	if d == &f.resp {
		f.last = time.Since(f.start)
		hd.usage, hd.errorCode = provider.UsageHeader(h), provider.ErrorCodeOf(h)
	} else {
		hd.origin = provider.OriginHeader(h)
	}
	if body == nil || body == http.NoBody || status == http.StatusSwitchingProtocols {
		f.shut(d, status != http.StatusSwitchingProtocols)
		return body
	}
	return &tapped{body, f, d}
}

// End says how the exchange ended, with the transport's error if there was
// one. The first call counts. What is read from the wrapped bodies afterwards
// is not recorded.
func (f *Flow) End(o Outcome, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inert || f.ended {
		return
	}
	f.ended, f.outcome, f.err = true, o, err
	f.req.closed, f.resp.closed = true, true
	if f.last == 0 {
		f.last = time.Since(f.start)
	}
	f.wake()
}

// wake lets the flow's goroutine look at what there is, which begins with the
// first call: most exchanges need it at their end only. The caller holds f.mu.
func (f *Flow) wake() {
	if !f.running {
		f.running = true
		go f.run()
	}
	f.cond.Signal()
}

// settled returns a channel that is closed when all that has ended has its
// record, or nil if nothing has.
func (f *Flow) settled() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.ended:
		return f.finished
	case f.socket != nil:
		return f.socket.settled(f.queued)
	}
	return nil
}

// saw takes note of what a Read returned.
func (f *Flow) saw(d *direction, p []byte, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return
	}
	if d == &f.resp && (len(p) > 0 || err == io.EOF) {
		f.last = time.Since(f.start)
		if len(p) > 0 {
			if f.first == 0 {
				f.first = f.last
			}
			// A provider that answers before it has read the request, as
			// with a 413, needs no more of it than came so far.
			f.req.closed = true
		}
	}
	f.push(d, p)
	if err != nil {
		f.shut(d, err == io.EOF)
	}
}

// shut closes a direction. What is queued of it by then, if it is no batch,
// waits for End with the record. The caller holds f.mu.
func (f *Flow) shut(d *direction, clean bool) {
	if !d.closed {
		d.closed, d.clean = true, clean
	}
}

// tapped is a body whose reads are copied.
type tapped struct {
	body io.ReadCloser
	f    *Flow
	d    *direction
}

func (t *tapped) Read(p []byte) (int, error) {
	n, err := t.body.Read(p)
	t.f.saw(t.d, p[:max(0, min(n, len(p)))], err)
	return n, err
}

func (t *tapped) Close() error {
	err := t.body.Close()
	t.f.mu.Lock()
	t.f.shut(t.d, false)
	t.f.mu.Unlock()
	return err
}
