package transport

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/haltonlabs/halton-meter/meter/tap"
)

var errNoResponse = errors.New("the base transport returned neither a response nor an error")

// exchange is one round trip that is metered.
type exchange struct {
	t     *Transport
	ctx   context.Context // the request's
	about tap.Exchange
	flow  *tap.Flow
}

// broke ends the exchange with an error of the transport: the program's doing
// if it gave the request up.
func (x *exchange) broke(err error) {
	if x.ctx.Err() != nil {
		x.flow.End(tap.ClientAborted, nil)
		return
	}
	x.flow.End(tap.UpstreamFailed, err)
}

// send returns the request that the base makes: a shallow copy, since a
// RoundTripper must not change the one it gets, with a body that is copied.
func (x *exchange) send(req *http.Request) *http.Request {
	if req.Body == nil || req.Body == http.NoBody {
		x.flow.Request(req.Header, nil)
		return req
	}
	s := &upload{}
	s.copied = x.flow.Request(req.Header, &s.last)
	out := req.WithContext(req.Context())
	out.Body = &sending{s, req.Body, 0}
	if req.GetBody != nil {
		out.GetBody = func() (io.ReadCloser, error) {
			again, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			return &sending{s, again, 0}, nil
		}
	}
	return out
}

// upload gives the tap the bytes of the request's body once, however often
// the transport begins to send it anew.
type upload struct {
	mu     sync.Mutex
	seen   int64
	copied io.Reader // takes note of what last returns
	last   last
}

// last is a body whose Read returns what another one's has returned into the
// same memory.
type last struct {
	n   int
	err error
}

func (l *last) Read([]byte) (int, error) { return l.n, l.err }

func (*last) Close() error { return nil }

// sent takes note of a read at an offset.
func (u *upload) sent(at int64, p []byte, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if skip := u.seen - at; skip > 0 {
		p = p[min(skip, int64(len(p))):]
	}
	if err != nil && err != io.EOF {
		err = nil // another attempt may follow
	}
	u.seen += int64(len(p))
	u.last = last{len(p), err}
	_, _ = u.copied.Read(p) // its results are ours
}

// sending is one attempt to send the request's body.
type sending struct {
	u    *upload
	body io.ReadCloser
	at   int64
}

func (s *sending) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	got := p[:max(0, min(n, len(p)))]
	s.u.sent(s.at, got, err)
	s.at += int64(len(got))
	return n, err
}

func (s *sending) Close() error { return s.body.Close() }

// response is a response's body on its way to the program.
type response struct {
	body io.ReadCloser
	x    *exchange
	stop func() bool
}

func (r *response) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	switch {
	case err == nil:
	case err == io.EOF:
		r.x.flow.End(tap.Completed, nil)
		r.stop()
	default:
		r.x.broke(err)
		r.stop()
	}
	return n, err
}

func (r *response) Close() error {
	// Whatever a read in another goroutine returns now, the program has left.
	r.x.flow.End(tap.ClientAborted, nil)
	r.stop()
	return r.body.Close()
}

// upgrade lets the program talk over the connection. What a WebSocket says
// is known at some endpoints; everything else is none of ours.
func (x *exchange) upgrade(resp *http.Response, conn io.ReadWriteCloser) {
	if !x.about.Endpoint.Socket || !strings.EqualFold(resp.Header.Get("Upgrade"), "websocket") {
		x.flow.End(tap.Completed, nil)
		return
	}
	socket := x.flow.Upgrade(resp.Header, conn, x.next)
	resp.Body = &talk{socket}
}

// talk is a WebSocket's connection.
type talk struct{ *tap.Socket }

func (s *talk) Read(p []byte) (int, error) {
	n, err := s.Socket.Read(p)
	if err != nil {
		s.End(tap.Completed, nil)
	}
	return n, err
}

func (s *talk) Close() error {
	err := s.Socket.Close()
	s.End(tap.ClientAborted, nil)
	return err
}
