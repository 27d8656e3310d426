package tap

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/haltonlabs/halton-meter/meter/provider"
)

var errLeft = errors.New("the provider left the WebSocket before the end of the response")

// conversation is what the flow's goroutine makes of a WebSocket.
type conversation struct {
	f      *Flow
	s      *socket
	dialog provider.Dialog
	turns  map[provider.Parser]*turn
	// origin is what the client said of itself last.
	origin provider.Origin
	// asked and told say why a direction cannot be read any more.
	asked, told string
}

// turn is a response that is not over.
type turn struct {
	opened
	parser      provider.Parser
	origin      provider.Origin
	first, last time.Duration
	lost        string
}

// talk makes the records of a WebSocket.
func (f *Flow) talk() {
	t := &conversation{f: f, s: f.socket, turns: map[provider.Parser]*turn{}}
	defer f.tap.forget(f)
	asking := f.tap.joiner(f.socket.deflated.on, f.socket.deflated.client, f.tap.maxBody(), t.ask)
	telling := f.tap.joiner(f.socket.deflated.on, f.socket.deflated.service, maxEvent, t.answer)
	defer asking.free()
	defer telling.free()

	t.lose(&t.asked, f.socket.unread)
	t.lose(&t.told, f.socket.unread)
	t.guard(func() {
		t.dialog = f.exchange.Endpoint.NewDialog()
		t.origin = provider.OriginOf(f.head(&f.reqHead).origin, nil)
	})
	for {
		d, c, more := f.nextChunk()
		if !more {
			break
		}
		if c != nil {
			t.guard(func() {
				switch {
				case d == &f.req && t.asked == "":
					t.lose(&t.asked, asking.write(c.b[:c.n]))
				case d == &f.resp && t.told == "":
					t.lose(&t.told, telling.write(c.b[:c.n]))
				}
			})
			f.tap.freeChunk(c)
		}
		t.keepUp()
	}
	t.close()
}

func (t *Tap) joiner(packed bool, p deflateParams, limit int, deliver func([]byte, error)) *messageJoiner {
	j := &messageJoiner{raw: &buffer{tap: t, max: limit}, plain: &buffer{tap: t, max: limit}, deliver: deliver}
	if packed {
		j.inflate = &inflater{deflateParams: p, lease: lease{tap: t}}
	}
	return j
}

// nextChunk waits for bytes of either direction. What the client has said
// comes first, since the provider may be answering it. It returns no chunk if
// there is something else to do, and more is false when the socket has ended.
func (f *Flow) nextChunk() (d *direction, c *chunk, more bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.socket.busy = false
	for {
		for _, d := range []*direction{&f.req, &f.resp} {
			if c := d.head; c != nil {
				if d.head = c.next; d.head == nil {
					d.tail = nil
				}
				f.queued -= c.n
				f.socket.busy = true
				return d, c, true
			}
		}
		if f.socket.abandoned() || f.socket.orphaned() {
			f.socket.busy = true
			return nil, nil, true
		}
		for _, done := range f.socket.waiting {
			close(done)
		}
		f.socket.waiting = nil
		if f.ended {
			return nil, nil, false
		}
		f.cond.Wait()
	}
}

// guard runs what handles foreign bytes.
func (t *conversation) guard(read func()) {
	defer func() {
		if p := recover(); p != nil {
			t.f.tap.logger().Error("tap.parser.panicked", "id", t.f.exchange.ID, "host", t.f.exchange.Host, "panic", fmt.Sprintf("%T", p))
			err := errors.New("reading the WebSocket panicked")
			t.lose(&t.asked, err)
			t.lose(&t.told, err)
		}
	}()
	read()
}

// lose gives a direction up. The relay goes on; the responses that are under
// way, and all that come, have a record that says so.
func (t *conversation) lose(why *string, err error) {
	if err == nil || *why != "" {
		return
	}
	*why = "read the WebSocket: " + err.Error()
	t.f.tap.logger().Warn("tap.socket.lost", "id", t.f.exchange.ID, "host", t.f.exchange.Host, "error", err)
	d := &t.f.req
	if why == &t.told {
		d = &t.f.resp
		for _, u := range t.inOrder() {
			t.finish(u, Completed, nil)
		}
	}
	t.f.mu.Lock()
	defer t.f.mu.Unlock()
	d.ignored = true
	t.f.discard(d)
	t.s.hopeless = t.asked != "" && t.told != ""
}

// keepUp does what is left to do after each chunk.
func (t *conversation) keepUp() {
	f := t.f
	f.mu.Lock()
	cutAsked, cutTold := f.req.cut && f.req.head == nil, f.resp.cut && f.resp.head == nil
	f.mu.Unlock()
	if cutAsked {
		t.lose(&t.asked, errNoRoom)
	}
	if cutTold {
		t.lose(&t.told, errNoRoom)
	}
	f.mu.Lock()
	t.s.turns = len(t.turns)
	var unread []opened
	if t.s.abandoned() {
		unread, t.s.opened = t.s.opened, nil
	}
	orphaned, gone := t.s.orphaned() && f.queued == 0, t.s.gone
	if orphaned {
		t.s.turns = 0
	}
	f.mu.Unlock()
	if orphaned {
		for _, u := range t.inOrder() {
			t.finish(u, gone, errLeft)
		}
	}
	for _, x := range unread {
		t.unread(x, Completed)
	}
}

// unread makes the record of a message of which nothing is known. It may have
// asked for a response, and to say too much is better than to hide a loss.
func (t *conversation) unread(x opened, outcome Outcome) {
	t.finish(&turn{opened: x, parser: x.Endpoint.NewParser(), origin: t.origin, lost: or(t.asked, t.told)}, outcome, nil)
}

// close makes the records of what the end of the socket has cut.
func (t *conversation) close() {
	t.f.mu.Lock()
	outcome, left := t.s.gone, t.s.opened
	if outcome == "" {
		outcome = ClientAborted
	}
	t.s.opened = nil
	t.f.mu.Unlock()
	for _, u := range t.inOrder() {
		t.finish(u, outcome, errLeft)
	}
	for _, x := range left {
		if t.asked != "" {
			t.unread(x, outcome)
		} else {
			t.f.tap.void(x.Exchange)
		}
	}
}

// take returns the exchange that was opened first, or opens one: then the
// provider has begun the response by itself.
func (t *conversation) take() opened {
	t.f.mu.Lock()
	if len(t.s.opened) > 0 {
		x := t.s.opened[0]
		t.s.opened = t.s.opened[1:]
		t.f.mu.Unlock()
		return x
	}
	t.f.mu.Unlock()
	return opened{t.s.begin(), time.Now()}
}

// ask takes a message of the client.
func (t *conversation) ask(message []byte, _ error) { // a request may be cut
	p := t.dialog.Ask(message)
	if p == nil {
		if !t.s.spare {
			t.f.tap.void(t.take().Exchange)
		}
		return
	}
	t.origin = provider.OriginOf(t.f.head(&t.f.reqHead).origin, message)
	u := &turn{opened: t.take(), parser: p, origin: t.origin}
	t.turns[p] = u
	if t.told != "" {
		t.finish(u, Completed, nil)
	}
}

// answer takes a message of the provider.
func (t *conversation) answer(message []byte, over error) {
	p, last := t.dialog.Answer(message)
	if p == nil {
		return
	}
	u := t.turns[p]
	if u == nil {
		u = &turn{opened: t.take(), parser: p, origin: t.origin}
		t.turns[p] = u
	}
	u.last = time.Since(u.at)
	if u.first == 0 {
		u.first = u.last
	}
	if over != nil && u.lost == "" {
		u.lost = "keep a message of the WebSocket: " + over.Error()
	}
	if last {
		t.finish(u, Completed, nil)
	}
}

// inOrder returns the responses that are under way, the oldest first.
func (t *conversation) inOrder() []*turn {
	return slices.SortedFunc(maps.Values(t.turns), func(a, b *turn) int { return a.at.Compare(b.at) })
}

// finish makes the record of a response.
func (t *conversation) finish(u *turn, outcome Outcome, err error) {
	delete(t.turns, u.parser)
	rec := Record{Exchange: u.Exchange, Origin: u.origin, Outcome: outcome, Latency: u.last, FirstByte: u.first}
	if outcome == UpstreamFailed {
		rec.Err = err
	}
	if u.first > 0 || t.told != "" {
		rec.HTTPStatus = http.StatusSwitchingProtocols
	}
	t.guard(func() { rec.Result = u.parser.Result(outcome == Completed && t.told == "") })
	if rec.Prefetch {
		t.f.tap.void(u.Exchange)
		return
	}
	// The last message of a response tells all; what was lost before it does
	// not matter then.
	if lost := or(t.told, u.lost); t.told != "" || lost != "" && !rec.Complete {
		rec.Complete, rec.Reason = false, lost
		t.f.mu.Lock()
		rec.Dropped = t.f.dropped
		t.f.mu.Unlock()
	}
	if rec.ErrorClass == "" && (rec.HTTPStatus != 0 || outcome != ClientAborted) {
		rec.ErrorClass = provider.ClassifyError(rec.HTTPStatus, rec.ErrorCode, rec.Err)
	}
	t.f.tap.deliver(rec)
}

func or(text, otherwise string) string {
	if text != "" {
		return text
	}
	return otherwise
}
