package tap

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// A Socket is a WebSocket on its way through the relay. It is the connection
// to the provider: the relay reads from it, writes to it and closes it, and
// the ends see each other's bytes as they are. Copies of both directions go
// through the same bounded queue as a body's do.
type Socket struct {
	*Flow
	conn io.ReadWriteCloser
}

// socket is what a Flow knows of its WebSocket.
type socket struct {
	// begin opens an exchange. The relay calls it for a message of the client
	// before it forwards the first byte, so that whatever happens then, the
	// request is known. spare: one that was opened and not used is enough,
	// since the provider begins most responses.
	begin func() Exchange
	spare bool

	deflated deflated
	// unread is why nothing of the socket can be read, nil if it can.
	unread error

	// Flow.mu guards the rest.

	// asking and telling follow the frames of the client and of the provider.
	asking, telling framer
	opened          []opened
	turns           int  // that are not over
	busy            bool // the flow's goroutine has bytes at hand
	hopeless        bool // neither direction can be read
	waiting         []chan struct{}
	active          time.Time // when bytes passed last
	gone            Outcome   // of the responses that are not over; "": both ends are there
	silent          bool      // the provider will say no more
	leaving         bool
	goodbye         []byte
}

// opened is an exchange that begin has opened.
type opened struct {
	Exchange
	at time.Time
}

// Upgrade ends the flow of a request that the provider has answered with 101
// and made a WebSocket (RFC 6455): it makes no record, and the Socket, whose
// End must be called, makes one of each response on it. h is the header of the
// answer, conn the connection to the provider. begin opens the exchange of
// another response; it is called while the relay waits.
func (f *Flow) Upgrade(h http.Header, conn io.ReadWriteCloser, begin func() Exchange) *Socket {
	s := &socket{begin: begin, spare: f.exchange.Endpoint.ProviderBegins(), active: time.Now()}
	s.deflated, s.unread = negotiated(h)
	g := &Flow{tap: f.tap, exchange: f.exchange, start: f.start, finished: make(chan struct{}), socket: s, running: true}
	g.cond.L = &g.mu
	if f.inert {
		g.inert = true
		return &Socket{g, conn}
	}

	f.mu.Lock()
	g.reqHead.origin = f.reqHead.origin
	f.voided, f.ended = true, true
	f.req.closed, f.resp.closed = true, true
	f.wake()
	f.mu.Unlock()
	if f.tap.register(g) {
		go g.talk()
	}
	return &Socket{g, conn}
}

// Read implements io.Reader: it is what the provider sends.
func (c *Socket) Read(p []byte) (int, error) {
	n, err := c.conn.Read(p)
	s := c.socket
	c.mu.Lock()
	defer c.mu.Unlock()
	s.follow(&s.telling, p[:n], UpstreamFailed)
	c.copy(&c.resp, p[:n])
	if err == nil || n > 0 {
		return n, nil // the error comes again
	}
	if s.leaving && s.gone == "" && s.telling.atRest() {
		s.goodbye = closeFrame
	}
	s.end(UpstreamFailed)
	s.silent = true
	c.cond.Signal()
	if len(s.goodbye) > 0 {
		n = copy(p, s.goodbye)
		s.goodbye = s.goodbye[n:]
		return n, nil
	}
	if s.leaving {
		err = io.EOF
	}
	return 0, err
}

// Write implements io.Writer: it is what the client sends.
func (c *Socket) Write(p []byte) (int, error) {
	s := c.socket
	for range c.begins(p) {
		x := opened{s.begin(), time.Now()}
		c.mu.Lock()
		s.opened = append(s.opened, x)
		c.mu.Unlock()
	}
	c.mu.Lock()
	c.copy(&c.req, p)
	c.mu.Unlock()
	return c.conn.Write(p)
}

// begins counts the exchanges that are to be opened for p.
func (c *Socket) begins(p []byte) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.socket
	n := s.follow(&s.asking, p, ClientAborted)
	if c.inert || c.ended {
		return 0
	}
	if s.spare {
		n = min(n, max(0, 1-len(s.opened)))
	}
	return n
}

// follow watches one direction, and counts the messages that begin in p. from
// is what it means for the responses if that end leaves first.
func (s *socket) follow(f *framer, p []byte, from Outcome) (messages int) {
	if len(p) > 0 {
		s.active = time.Now()
	}
	for len(p) > 0 {
		sp, rest, ok, err := f.next(p)
		switch {
		case err != nil:
			return messages
		case !ok || !sp.start:
		case sp.begins():
			messages++
		case sp.opcode == opClose:
			s.end(from)
		}
		p = rest
	}
	return messages
}

// end notes who left first.
func (s *socket) end(from Outcome) {
	if s.gone == "" {
		s.gone = from
	}
}

// copy queues bytes for the flow's goroutine. The caller holds c.mu.
func (c *Socket) copy(d *direction, p []byte) {
	if c.inert || c.ended || len(p) == 0 {
		return
	}
	c.push(d, p)
	c.cond.Signal()
}

// Close implements io.Closer.
func (c *Socket) Close() error {
	c.mu.Lock()
	c.socket.end(ClientAborted)
	c.mu.Unlock()
	return c.conn.Close()
}

// CloseWrite passes the client's end of the stream on, if that can be.
func (c *Socket) CloseWrite() error {
	c.mu.Lock()
	c.socket.end(ClientAborted)
	c.mu.Unlock()
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// closeFrame says that an endpoint is going away (RFC 6455, section 7.4.1).
var closeFrame = []byte{0x80 | opClose, 2, 1001 >> 8, 1001 & 0xff}

// Quiet returns for how long nothing has passed while no response was under
// way; zero if one is.
func (c *Socket) Quiet() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.socket
	if s.turns > 0 || c.queued > 0 || s.busy || len(s.opened) > 0 && !s.spare {
		return 0
	}
	return time.Since(s.active)
}

// Leave closes the connection to the provider. The client reads a Close frame
// with the status 1001 if no message is under way, and then the end.
func (c *Socket) Leave() {
	c.mu.Lock()
	c.socket.leaving = true
	c.mu.Unlock()
	c.conn.Close() // fails if somebody else did that
}

// abandoned reports whether there are exchanges that can only be written down
// as unread, and orphaned whether there are responses that can only be written
// down as cut.
func (s *socket) abandoned() bool { return s.hopeless && !s.spare && len(s.opened) > 0 }
func (s *socket) orphaned() bool  { return s.silent && s.turns > 0 }

// settled returns a channel that is closed when the goroutine has nothing to
// do, or nil if that is so. The caller holds Flow.mu.
func (s *socket) settled(queued int) <-chan struct{} {
	if queued == 0 && !s.busy && !s.abandoned() && !s.orphaned() {
		return nil
	}
	done := make(chan struct{})
	s.waiting = append(s.waiting, done)
	return done
}
