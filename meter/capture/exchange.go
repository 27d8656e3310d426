package capture

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/haltonlabs/halton-meter/meter/tap"
)

// exchange is one request and what became of it.
type exchange struct {
	i      *Interceptor
	tunnel *tunnel
	flow   *tap.Flow       // nil: no record
	about  tap.Exchange    // what flow is about
	answer *answer         // to the client
	upload *upload         // nil: no body
	socket *tap.Socket     // nil: not upgraded to one that is metered
	client context.Context // ends when the client goes away
	done   bool            // ServeHTTP returned in the ordinary way
	asked  bool            // for a usage that the client did not ask for

	mu      sync.Mutex
	outcome tap.Outcome // of what broke first; "" if nothing did
	err     error
	begun   bool // the response
	gone    bool // the client, before the response had ended
}

type exchangeKey struct{}

func exchangeOf(r *http.Request) *exchange {
	return r.Context().Value(exchangeKey{}).(*exchange)
}

// open begins an exchange, and its record if it is to have one.
func (i *Interceptor) open(t *tunnel, r *http.Request) (x *exchange) {
	x = &exchange{i: i, tunnel: t, client: r.Context()}
	if i.Tap == nil {
		return x
	}
	defer x.survive()
	// The path is looked up as it was sent, else as a server may read it.
	path := r.URL.EscapedPath()
	endpoint, ok := i.Lookup(r.Method, t.chain.Host, path)
	if !ok {
		if endpoint, ok = i.Lookup(r.Method, t.chain.Host, r.URL.Path); !ok {
			return x
		}
	}
	if endpoint.Socket != isUpgrade(r) {
		return x
	}
	x.about = tap.Exchange{
		Method:    r.Method,
		Host:      t.chain.Host,
		Path:      path,
		Endpoint:  endpoint,
		Client:    t.chain.Client,
		ProxyUser: t.chain.User,
		UserAgent: cut(r.UserAgent(), 200),
	}
	x.flow = i.Tap.Start(x.begin())
	return x
}

// begin opens what will make a record.
func (x *exchange) begin() tap.Exchange {
	about := x.about
	about.ID, about.RequestedAt = x.i.NewID(), time.Now().UTC()
	x.i.counts.exchanges.Add(1)
	if x.i.Opened != nil {
		x.i.Opened(&about)
	}
	return about
}

// beginResponse opens another response on a WebSocket.
func (x *exchange) beginResponse() (about tap.Exchange) {
	about = x.about
	defer x.survive()
	return x.begin()
}

// survive recovers: metering is ours, the exchange is the user's, and no hook
// may harm it.
func (x *exchange) survive() {
	if p := recover(); p != nil {
		x.i.Logger.Error("capture.exchange.unmetered", "host", x.tunnel.chain.Host, "panic", fmt.Sprint(p))
	}
}

// isUpgrade reports whether the request asks for another protocol on its
// connection, such as WebSocket (RFC 9110, section 7.8).
func isUpgrade(r *http.Request) bool {
	for _, line := range r.Header["Connection"] {
		for option := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(option), "upgrade") {
				return r.Header.Get("Upgrade") != ""
			}
		}
	}
	return false
}

// close ends the exchange's record, however the exchange ended. It runs
// deferred, also in a panic.
func (x *exchange) close() {
	if x.upload != nil {
		x.upload.finish()
	}
	x.mu.Lock()
	outcome, err, gone := x.outcome, x.err, x.gone
	x.mu.Unlock()
	switch {
	case x.done && !gone:
		outcome, err = tap.Completed, nil
	case outcome == "":
		// Nothing of the provider's broke, so it was a write to the client.
		outcome = tap.ClientAborted
	}
	if outcome == tap.UpstreamFailed {
		x.i.counts.failed.Add(1)
		x.i.Logger.Info("capture.exchange.failed", "host", x.tunnel.chain.Host, "error", unquoted(err))
	}
	if x.socket != nil {
		x.i.drain.removeSocket(x.socket)
	}
	if x.flow != nil {
		x.flow.End(outcome, err)
	}
	if p := recover(); p != nil {
		if p != http.ErrAbortHandler {
			x.i.Logger.Error("capture.exchange.panicked", "host", x.tunnel.chain.Host, "panic", fmt.Sprint(p))
		}
		panic(http.ErrAbortHandler)
	}
}

// unquoted is an error's text up to what net/http quotes of a response that it
// does not understand: a header, or the body behind one that was too short.
func unquoted(err error) string {
	if err == nil {
		return ""
	}
	text, _, _ := strings.Cut(err.Error(), `"`)
	// net/textproto quotes with no sign of it.
	if before, _, ok := strings.Cut(text, "malformed MIME header"); ok {
		return before + "malformed MIME header"
	}
	return text
}

// broke notes what broke first: the rest follows from it. When the client
// goes away, everything towards the provider is cancelled, and fails too.
func (x *exchange) broke(outcome tap.Outcome, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.outcome != "" {
		return
	}
	if x.client.Err() != nil {
		outcome = tap.ClientAborted
	}
	if outcome == tap.ClientAborted {
		err = nil
	}
	x.outcome, x.err = outcome, err
}

// clientBroke takes the error that ended a request's body. A client may stop
// an upload because the answer, such as a 413, is there.
func (x *exchange) clientBroke(err error) {
	x.broke(tap.ClientAborted, err)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.gone = x.gone || !x.begun
}

// upstreamEnded takes how a response ended. A provider may end it in good
// order because it has noticed before us that we cancel it.
func (x *exchange) upstreamEnded(err error) {
	if err != io.EOF {
		x.broke(tap.UpstreamFailed, err)
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.gone = x.gone || x.client.Err() != nil
}

// failed takes the error with which no response came. The client's connection
// ends: with the exchange in HTTP/1.1, as that is aborted.
func (x *exchange) failed(err error) {
	x.broke(tap.UpstreamFailed, err)
	if _, unverified := errors.AsType[*tls.CertificateVerificationError](err); unverified {
		x.i.distrust(x.tunnel.chain.Host, reasonUntrusted, err)
		if m := x.tunnel.multiplex; m != nil {
			m.goAwayWhenIdle() // it comes back with a CONNECT, which Admit refuses
		}
	}
}

// answered takes the response's head, before the client gets it.
func (x *exchange) answered(res *http.Response) error {
	x.mu.Lock()
	x.begun, x.gone = true, x.gone || x.client.Err() != nil
	x.mu.Unlock()
	if x.upload != nil {
		x.upload.respond()
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		x.i.counts.upgraded.Add(1)
		x.upgraded(res)
		return nil
	}
	if res.Close && res.ProtoMajor == 1 && x.tunnel.multiplex == nil {
		res.Header.Set("Connection", "close")
	}
	if res.StatusCode == http.StatusForbidden && strings.EqualFold(res.Header.Get("Cf-Mitigated"), "challenge") {
		// Cloudflare judges the TLS client, and the client's own may please it.
		x.i.distrust(x.tunnel.chain.Host, reasonChallenged, nil)
		if m := x.tunnel.multiplex; m != nil {
			m.goAwayWhenIdle()
		} else {
			res.Header.Set("Connection", "close")
		}
	}
	if res.StatusCode == http.StatusNotModified {
		// Its Content-Length is that of the body which it has not (RFC 9110,
		// section 8.6), and which net/http would miss in HTTP/2.
		res.Body.Close()
		res.Body = http.NoBody
	}
	if res.Body != http.NoBody {
		res.Body = &watched{res.Body, x.upstreamEnded}
	}
	if x.flow != nil {
		res.Body = x.flow.Response(res.StatusCode, res.Header, res.Body)
	}
	x.hideUsage(res)
	if res.Body != http.NoBody {
		res.Body = &elastic{ReadCloser: res.Body, to: x.answer, large: &x.i.large, known: res.ContentLength >= 0}
	}
	return nil
}

// upgraded has the tap read along with a WebSocket.
func (x *exchange) upgraded(res *http.Response) {
	conn, ok := res.Body.(io.ReadWriteCloser)
	if x.flow == nil || !ok || !strings.EqualFold(res.Header.Get("Upgrade"), "websocket") {
		return
	}
	socket := x.flow.Upgrade(res.Header, conn, x.beginResponse)
	x.flow, res.Body = socket.Flow, socket
	x.i.drain.addSocket(socket)
	x.socket = socket
}

// cut shortens s to at most n bytes of whole characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// randomUUID returns a UUID of version 4 (RFC 9562, section 5.4).
func randomUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}
