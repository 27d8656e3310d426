// Package transport meters the LLM calls of the program that imports it.
//
// A Transport is an http.RoundTripper that lies over the one that the program
// has. Any SDK that takes an http.Client can use it:
//
//	meter := &transport.Transport{Sink: transport.SinkFunc(func(r transport.Record) {
//		fmt.Println(r.Endpoint.Provider, r.Model, r.Status, r.Cost.NanoUSD, r.Cost.Reason)
//	})}
//	client := openai.NewClient(option.WithHTTPClient(&http.Client{Transport: meter}))
//	…
//	meter.Close(ctx)
//
// It needs no proxy, no certificate and no database. It reads along with the
// same tap, wire formats and prices as the daemon does, and gives a Record of
// each exchange with a provider that it knows to the Sink. All other requests
// go to the base transport as if it were not there.
//
// A host of your own, such as a gateway, is metered with the Lookup of a
// provider.NewTable, and priced with a pricing.Book.With; see the example
// OwnHost.
//
// # What it leaves alone
//
// The provider gets the same request and the program the same response: same
// header, same bytes at the same moments, same errors. Bodies are streams
// before and after; what passes is copied into a bounded queue, and where that
// is full the copy is dropped, and the Record says so. Response.Uncompressed
// is respected. A response that switches protocols keeps its
// io.ReadWriteCloser; of a WebSocket whose messages are known, as that of
// OpenAI's Responses API, each response makes a Record.
//
// One thing differs below HTTP: net/http sends the header of a request whose
// body it knows to be in memory in one packet with the body, and of another in
// a packet of its own.
//
// # One record an exchange
//
// It is one round trip: a redirect, or the retry of an SDK, makes another one;
// what http.Transport sends again by itself, on a new connection, does not.
// The exchange ends with the response's body: at its end, or when it is closed
// before, or when the request's context ends. Complete says
// whether the usage is final. A body that is neither read to its end nor closed, under
// a context that never ends, makes its record when the Transport is closed.
//
// # The Sink
//
// It is called by one goroutine at a time, about in the order in which
// exchanges end, and never from the program's calls: it may be slow, and may
// make calls itself. What it cannot keep up with waits, up to MaxPending records; what
// comes then is dropped and counted. A panic in it is caught and counted. It
// must not call Flush or Close, which wait for it.
//
// # What it does not do
//
// It stores nothing, names no project, and forgets a record once the Sink has
// had it. A program that also goes through the daemon's proxy is metered by
// both.
package transport
