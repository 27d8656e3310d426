package transport

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/haltonlabs/halton-meter/meter/internal/booking"
	"github.com/haltonlabs/halton-meter/meter/pricing"
	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/meter/tap"
)

// DefaultMaxPending is the bound of a Transport whose MaxPending is zero.
const DefaultMaxPending = 1024

// Transport is a metering http.RoundTripper. Its zero value passes everything
// through; with a Sink it meters. Its fields must not change once it is used,
// and it must not be copied. It is safe for concurrent use.
type Transport struct {
	// Base makes the round trips. Nil means http.DefaultTransport.
	Base http.RoundTripper
	// Sink takes the records. Nil: nothing is metered.
	Sink Sink
	// Lookup finds what a request is metered as, by its method, host (in lower
	// case, without port) and escaped path; one that it does not know passes
	// untouched. It is called by several goroutines at once. Nil means
	// provider.Lookup; that of a [provider.Table] adds hosts.
	Lookup func(method, host, path string) (provider.Endpoint, bool)
	// Prices is the price book. Nil means pricing.Bundled.
	Prices *pricing.Book
	// MaxPending is how many records may wait for the Sink; zero means
	// DefaultMaxPending.
	MaxPending int
	// Logger takes what an operator should know, without any prompt, header
	// or key. Nil discards.
	Logger *slog.Logger

	once    sync.Once
	tap     tap.Tap
	cashier booking.Cashier
	outbox  outbox
	closed  atomic.Bool
}

// Record is one exchange, seen to its end. A Sink finds in it, through what it
// embeds:
//
//	Endpoint.Provider, Host, Path, Method, UserAgent, RequestedAt, ID
//	Model, RequestedModel, Tier, Stream
//	Usage       tokens; nil if the exchange named none, as a failed one does
//	Complete    whether Usage is final, and Reason why not
//	HTTPStatus, ErrorClass, ErrorCode, Err
//	Latency, FirstByte
//	Dropped     bytes that the meter had no room for, so that Usage may lack them
//
// Client and ProxyUser are the daemon's, and empty here.
type Record struct {
	tap.Record

	// Status is success, error (the provider's or the transport's), aborted
	// (the program did not want the rest) or truncated (the answer broke off).
	Status string
	// Cost is what the exchange cost, as far as that is known.
	Cost pricing.Cost
}

// Stats counts records.
type Stats struct {
	// Recorded were given to the Sink.
	Recorded int64
	// Dropped were not, because too many waited for it.
	Dropped int64
	// Panicked were given to it, and it panicked.
	Panicked int64
}

func (t *Transport) setup() {
	t.once.Do(func() {
		t.cashier.Book = t.Prices
		if t.cashier.Book == nil {
			t.cashier.Book = pricing.Bundled()
		}
		t.tap.Logger = t.logger()
		t.tap.Done = t.done
		t.outbox = outbox{sink: t.Sink, log: t.logger(), max: t.MaxPending}
		if t.outbox.max <= 0 {
			t.outbox.max = DefaultMaxPending
		}
	})
}

func (t *Transport) logger() *slog.Logger {
	if t.Logger != nil {
		return t.Logger
	}
	return slog.New(slog.DiscardHandler)
}

func (t *Transport) base() http.RoundTripper {
	if t.Base != nil {
		return t.Base
	}
	return http.DefaultTransport
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	x := t.begin(req)
	if x == nil {
		return t.base().RoundTrip(req)
	}
	out := x.send(req)
	resp, err := t.base().RoundTrip(out)
	if err != nil {
		x.broke(err)
		return resp, err
	}
	if resp == nil {
		x.broke(errNoResponse)
		return nil, nil
	}
	if resp.Request == out {
		resp.Request = req
	}
	x.receive(resp)
	return resp, nil
}

// CloseIdleConnections closes those of the base, if it can:
// http.Client.CloseIdleConnections asks its transport to.
func (t *Transport) CloseIdleConnections() {
	if c, ok := t.base().(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// Flush waits until the Sink has had the records of all exchanges that ended
// before the call, or until ctx ends.
func (t *Transport) Flush(ctx context.Context) error {
	t.setup()
	if err := t.tap.Flush(ctx); err != nil {
		return fmt.Errorf("flush records: %w", err)
	}
	return t.outbox.flush(ctx)
}

// Close ends the metering: what is still open makes its record as it stands,
// and the Sink gets all that waits, unless ctx ends before. Requests and open
// bodies go on, unmetered. It does not close the base.
func (t *Transport) Close(ctx context.Context) error {
	t.setup()
	t.closed.Store(true)
	if err := t.tap.Close(ctx); err != nil {
		return fmt.Errorf("close meter: %w", err)
	}
	return t.outbox.flush(ctx)
}

// Stats returns the counts up to now.
func (t *Transport) Stats() Stats {
	t.setup()
	return t.outbox.stats()
}

// begin opens the exchange that the request is metered as, nil if it is not.
// The call is the program's: whatever goes wrong with the metering, it goes on.
func (t *Transport) begin(req *http.Request) (x *exchange) {
	if t.Sink == nil || req == nil || req.URL == nil || t.closed.Load() {
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			t.logger().Error("transport.exchange.unmetered", "panic", fmt.Sprintf("%T", p))
			x = nil
		}
	}()
	method := req.Method
	if method == "" {
		method = http.MethodGet // as net/http has it
	}
	host, path := strings.ToLower(req.URL.Hostname()), req.URL.EscapedPath()
	lookup := t.Lookup
	if lookup == nil {
		lookup = provider.Lookup
	}
	endpoint, ok := lookup(method, host, path)
	if !ok || endpoint.Socket != (req.Header.Get("Upgrade") != "") {
		return nil
	}
	t.setup()
	x = &exchange{t: t, ctx: req.Context(), about: tap.Exchange{
		Method:    method,
		Host:      host,
		Path:      path,
		Endpoint:  endpoint,
		UserAgent: cut(req.UserAgent()),
	}}
	x.flow = t.tap.Start(x.next())
	return x
}

// done takes a record of the tap's.
func (t *Transport) done(rec tap.Record) {
	if rec.Outcome == tap.ClientAborted && rec.Complete && rec.HTTPStatus < 400 {
		// SDKs stop reading at the event that says that the answer is over,
		// and close the body before its end.
		rec.Outcome = tap.Completed
	}
	r := Record{Record: rec, Cost: t.cashier.Cost(rec)}
	r.Status, r.ErrorClass = booking.Status(rec)
	t.outbox.put(r)
}

// cut shortens a User-Agent to what the ledger keeps of it.
func cut(s string) string { return strings.ToValidUTF8(s[:min(len(s), 200)], "") }

// newID returns a UUID of version 4 (RFC 9562, section 5.4).
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// next is the exchange with a new id: a WebSocket has one for each response.
func (x *exchange) next() tap.Exchange {
	about := x.about
	about.ID, about.RequestedAt = newID(), time.Now().UTC()
	return about
}

// receive has the tap read along with the response.
func (x *exchange) receive(resp *http.Response) {
	if conn, ok := resp.Body.(io.ReadWriteCloser); ok && resp.StatusCode == http.StatusSwitchingProtocols {
		x.upgrade(resp, conn)
		return
	}
	h := resp.Header
	if resp.Uncompressed && h.Get("Content-Encoding") != "" {
		h = h.Clone()
		h.Del("Content-Encoding") // what Read returns has none
	}
	body := x.flow.Response(resp.StatusCode, h, resp.Body)
	if body == nil || body == http.NoBody {
		x.flow.End(tap.Completed, nil)
		return
	}
	r := &response{body: body, x: x}
	// A program may give a response up by its context, and not close it.
	r.stop = context.AfterFunc(x.ctx, func() { x.flow.End(tap.ClientAborted, nil) })
	resp.Body = r
}
