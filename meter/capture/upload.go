package capture

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// keepUpload is how much of a request's body is kept until its response
// begins. A transport that finds its pooled connection dead has read one copy
// buffer of 32 KiB by then.
const keepUpload = 64 << 10

var (
	errUploadOver = errors.New("read of a request's body after its exchange")
	errUploadGone = errors.New("the beginning of the request's body is gone")
)

// upload is the body of a request on its way to the provider. It can be sent
// again from the start as long as little was read of it, which the transport
// does when the provider cannot have seen the request: nothing could be
// written to a pooled connection, or the provider said so (a GOAWAY with a
// lower stream, REFUSED_STREAM: RFC 9113, section 8.7).
type upload struct {
	src       io.ReadCloser // the client's
	interrupt bool          // closing src ends a Read of it, and does not block
	broke     func(error)   // is told when src fails by itself

	mu       sync.Mutex
	kept     []byte
	gone     bool // more was read than is kept
	closed   bool // src, by us
	err      error
	reading  bool
	answered bool
	finished bool
}

// attach makes u the body of out.
func (u *upload) attach(out *http.Request) {
	out.Body = &uploadReader{u: u}
	// With these fields, net/http takes any request for one that it may repeat
	// after it was sent. Whether the provider honours them is not ours to bet on.
	if out.Header.Get("Idempotency-Key") == "" && out.Header.Get("X-Idempotency-Key") == "" {
		out.GetBody = u.again
	}
}

func (u *upload) again() (io.ReadCloser, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.gone || u.finished || u.reading {
		return nil, errUploadGone
	}
	return &uploadReader{u: u}, nil
}

// respond notes that the response has begun: nothing will be sent again.
func (u *upload) respond() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answered = true
	if len(u.kept) > 0 {
		u.kept, u.gone = nil, true
	}
}

// finish ends the use of src, which belongs to net/http's server: it must not
// be read once the handler has returned.
func (u *upload) finish() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.finished = true
	u.kept = nil
}

// uploadReader is one attempt to send an upload.
type uploadReader struct {
	u      *upload
	off    int
	closed bool
}

func (r *uploadReader) Read(p []byte) (int, error) {
	u := r.u
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case r.closed || u.finished || u.reading:
		return 0, errUploadOver
	case r.off < len(u.kept):
		n := copy(p, u.kept[r.off:])
		r.off += n
		return n, nil
	case u.err != nil:
		return 0, u.err
	}
	u.reading = true
	u.mu.Unlock()
	n, err := u.src.Read(p)
	u.mu.Lock()
	u.reading, u.err = false, err
	if err != nil && err != io.EOF && !u.closed && !u.finished {
		u.broke(err)
	}
	switch {
	case n == 0 || u.finished:
	case u.answered || u.gone || len(u.kept)+n > keepUpload:
		u.kept, u.gone = nil, true
	default:
		u.kept = append(u.kept, p[:n]...)
		r.off += n
	}
	return n, err
}

// Close ends this attempt. ReverseProxy shields a body from being closed, since
// in HTTP/1 that may wait for the client. But in HTTP/2 the transport closes a
// response only when the request's body is done too, and expects Close to
// interrupt a Read of it: without that, an early answer would not end before
// the upload does.
func (r *uploadReader) Close() error {
	u := r.u
	u.mu.Lock()
	defer u.mu.Unlock()
	r.closed = true
	if u.interrupt && (u.reading || u.answered) {
		u.gone, u.closed = true, true
		return u.src.Close()
	}
	return nil
}
