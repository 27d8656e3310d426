package capture

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"sync"
	"time"
)

// upstream holds the connections to providers. A client gets the protocol
// there that it speaks here: what a provider does differently in HTTP/2 (a
// stream limit, a GOAWAY, one slow peer for all streams) then happens only to
// a client that would have met it without us too, and an upload over HTTP/1.1
// meets no flow control window.
type upstream struct{ h1, h2 *http.Transport }

func newUpstream(dial func(context.Context, string, string) (net.Conn, error), roots *x509.CertPool) *upstream {
	h1 := &http.Transport{
		DialContext:         dial,
		TLSClientConfig:     &tls.Config{RootCAs: roots, ClientSessionCache: tls.NewLRUClientSessionCache(256)},
		TLSHandshakeTimeout: 30 * time.Second,
		// Forward Accept-Encoding, and its absence, as it is.
		DisableCompression: true,
		// As many connections may rest as a busy client opened.
		MaxIdleConns:        1024,
		MaxIdleConnsPerHost: 512,
		// Less than the providers' front ends keep an idle connection, so
		// that we rarely meet one that is being closed.
		IdleConnTimeout: 60 * time.Second,
		// Without it the body follows an "Expect: 100-continue" at once.
		ExpectContinueTimeout: time.Second,
		Protocols:             new(http.Protocols),
		// An event has some hundred bytes, and what is longer than the buffer is
		// read past it.
		ReadBufferSize: 2 << 10,
		// No ResponseHeaderTimeout: a thinking model may be silent for minutes.
	}
	h1.Protocols.SetHTTP1(true)
	h2 := h1.Clone()
	h2.TLSClientConfig = &tls.Config{RootCAs: roots, ClientSessionCache: tls.NewLRUClientSessionCache(256)}
	h2.Protocols = new(http.Protocols)
	h2.Protocols.SetHTTP1(true) // for a provider that does not speak HTTP/2
	h2.Protocols.SetHTTP2(true)
	// A connection that died in its sleep looks like a silent one.
	h2.HTTP2 = &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second}
	return &upstream{h1, h2}
}

func (u *upstream) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.ProtoMajor == 2 {
		return u.h2.RoundTrip(req)
	}
	return u.h1.RoundTrip(req)
}

func (u *upstream) closeIdle() {
	u.h1.CloseIdleConnections()
	u.h2.CloseIdleConnections()
}

// wakeDetector notices that the machine slept between two requests. The
// provider has forgotten the idle connections by then, and a POST that is
// sent on one cannot be repeated.
type wakeDetector struct {
	mu   sync.Mutex
	last time.Time
}

// woke reports whether the machine slept since the last call: the monotonic
// clock stands still in sleep on Linux and macOS, the other one does not.
func (d *wakeDetector) woke(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	last := d.last
	d.last = now
	return !last.IsZero() && slept(now.Round(0).Sub(last.Round(0)), now.Sub(last))
}

// slept tells a sleep from a clock that was merely adjusted.
func slept(wall, monotonic time.Duration) bool { return wall-monotonic > 10*time.Second }
