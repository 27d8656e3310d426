// Package tap turns the copied bytes of one HTTP exchange into exactly one
// Record, without ever making the relay wait.
//
// The relay wraps the two bodies of an exchange and says when it is over:
//
//	t := &tap.Tap{Done: store}
//	f := t.Start(exchange)
//	req.Body = f.Request(req.Header, req.Body)
//	resp, err := transport.RoundTrip(req)
//	resp.Body = f.Response(resp.StatusCode, resp.Header, resp.Body)
//	_, err = io.Copy(client, resp.Body)
//	f.End(tap.Completed, nil)
//
// A wrapped body reads and closes as the body beneath it does: same sizes,
// same errors, same moments. What a Read returned is also copied into a
// bounded queue, from which the flow's own goroutine decompresses it (gzip,
// deflate, br, zstd), splits it into events (server-sent events, lines of
// JSON, Amazon's event stream) and feeds them to the provider's parser. Where the queue is full, or
// all flows together hold too much, the copy is dropped there and then: the
// record still comes, with Dropped set, Complete false and the reason.
//
// The parser sees a prefix of what the client saw, decoded; never a byte that
// follows a gap. Of a string in a JSON text it gets the first 256 KiB: an image
// in base64 takes no room from the usage that follows it.
//
// # WebSockets
//
// A WebSocket carries many responses, and each makes a record. Flow.Upgrade
// takes over from the exchange of the upgrade; the Socket that it returns is
// the connection to the provider, whose bytes pass as they are in both
// directions. From copies the messages are put together (RFC 6455), inflated
// (RFC 7692) and read by the endpoint's provider.Dialog. What cannot be read
// is given up, and the records from then on say so.
//
// # Lifecycle
//
// Every Flow that Start returns must be ended with Flow.End; its goroutine
// lives until Done has returned. Tap.Flush waits for the records of the flows
// that were ended before; Tap.Close ends what is still open.
//
// # What it does not do
//
// It does not price, store or attribute anything, and it keeps neither prompts
// nor completions beyond the moment in which they are parsed.
package tap
