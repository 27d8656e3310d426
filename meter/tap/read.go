package tap

import (
	"fmt"
	"io"

	"github.com/haltonlabs/halton-meter/meter/provider"
)

// A reading is what the flow's goroutine makes of the copied bytes.
type reading struct {
	f      *Flow
	parser provider.Parser
	// whole: the parser saw the decoded response to its end.
	whole bool
	// lost says why usage may be missing although the response may be whole.
	lost string
	// origin is what the request says of its client.
	origin provider.Origin
	// why explains what the parser could not see; it counts if the parser
	// has no final usage.
	why string
}

// run makes the flow's record.
func (f *Flow) run() {
	r := &reading{f: f}
	var result provider.Result
	sound := r.guard(func() {
		r.parser = f.tap.newParser(f.exchange)
		r.request()
		r.response()
	})
	if !sound {
		for _, d := range []*direction{&f.req, &f.resp} {
			(&source{f: f, d: d}).stop()
		}
	}
	if f.awaitEnd(); f.voided {
		f.tap.void(f.exchange)
		f.tap.forget(f)
		return
	}
	if sound {
		r.guard(func() {
			result = r.parser.Result(r.whole && f.outcome == Completed)
		})
	}
	f.tap.deliver(r.record(result))
	f.tap.forget(f)
}

// guard runs what handles foreign bytes. A panic there must end neither the
// process, which carries the user's connections, nor the row.
func (r *reading) guard(read func()) (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			// The value may quote the body, hence only its type is logged.
			r.f.tap.logger().Error("tap.parser.panicked", "id", r.f.exchange.ID, "host", r.f.exchange.Host, "panic", fmt.Sprintf("%T", p))
			r.lose("reading the exchange panicked")
			ok = false
		}
	}()
	read()
	return true
}

func (r *reading) lose(reason string) {
	if r.lost == "" {
		r.lost = reason
	}
}

// request gives the parser the request's body, or the part of it that came
// before the response.
func (r *reading) request() {
	src := &source{f: r.f, d: &r.f.req}
	defer src.stop()
	body := r.document(r.f.tap.maxBody())
	defer body.free()
	// Whatever ends the copy, the parser takes a body that was cut.
	_ = r.decode(src, &r.f.reqHead, body.write)
	r.origin = provider.OriginOf(r.f.head(&r.f.reqHead).origin, body.b)
	r.parser.Request(body.b)
}

// response gives the parser the response's events, or its body.
func (r *reading) response() {
	src := &source{f: r.f, d: &r.f.resp}
	defer src.stop()

	out := &sniffer{r: r}
	defer out.free()
	err := r.decode(src, &r.f.respHead, out.write)
	hd := r.f.head(&r.f.respHead)
	if !hd.seen {
		return
	}
	if p, ok := r.parser.(provider.HeaderParser); ok && hd.usage != nil {
		p.Header(hd.usage)
	}
	r.whole = err == io.EOF
	if err != io.EOF && err != io.ErrUnexpectedEOF {
		r.why = fmt.Sprintf("read the response's body: %v", err)
	}
	out.close(r.whole)
}

// decode writes the decoded body to write, until its end or an error. The
// error is never nil: io.EOF says that the body came to its proper end.
func (r *reading) decode(src *source, h *head, write func([]byte) error) error {
	p, err := src.next()
	if err != nil {
		return err
	}
	src.rest = p
	content := &content{src: src}
	defer content.free()
	err = content.open(r.f.head(h).encoding)
	for err == nil {
		if p, err = content.next(); err == nil {
			err = write(p)
		}
	}
	return err
}

// record joins what the bytes say with what the relay says.
func (r *reading) record(result provider.Result) Record {
	rec := r.f.facts()
	rec.Result, rec.Origin = result, r.origin
	if rec.Dropped > 0 {
		// The drop comes first: whatever else is missing follows from it.
		r.lost = fmt.Sprintf("the tap had no room for %d bytes", rec.Dropped)
		r.f.tap.logger().Warn("tap.flow.dropped", "id", rec.ID, "host", rec.Host, "bytes", rec.Dropped)
	}
	switch {
	case r.lost != "":
		rec.Complete, rec.Reason = false, r.lost
	case r.why != "" && !rec.Complete:
		rec.Reason = r.why
	}
	if rec.HTTPStatus >= 400 && rec.ErrorCode == "" {
		rec.ErrorCode = r.f.head(&r.f.respHead).errorCode
	}
	// A client that left before there was an answer is no error of anybody's.
	if rec.ErrorClass == "" && (rec.HTTPStatus != 0 || rec.Outcome != ClientAborted) {
		rec.ErrorClass = provider.ClassifyError(rec.HTTPStatus, rec.ErrorCode, rec.Err)
	}
	return rec
}

// facts is the part of the record that the relay knows.
func (f *Flow) facts() Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	rec := Record{
		Exchange:   f.exchange,
		Outcome:    f.outcome,
		HTTPStatus: f.respHead.status,
		Latency:    f.last,
		FirstByte:  f.first,
		Dropped:    f.dropped,
	}
	if f.outcome == UpstreamFailed {
		rec.Err = f.err
	}
	return rec
}

func (f *Flow) head(h *head) head {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *h
}

func (f *Flow) awaitEnd() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.ended {
		f.cond.Wait()
	}
}
