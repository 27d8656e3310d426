// Package proxyedge is a fail-open proxy in front of a local service.
//
// An [Edge] owns the port that clients use: as a proxy, for CONNECT and plain
// http requests, or as a base URL, see [Route]. While the daemon behind it is
// healthy, the edge chains what goes to metered hosts to the daemon; at every
// other time, and for every other host, it goes straight to the destination. No state of the daemon makes a client's connection fail: a
// daemon that is down, hung, restarting or replaced by a stranger costs at
// most a bounded wait, and the loss is counted in [Status].
//
// The smallest edge:
//
//	ln, err := net.Listen("tcp", "127.0.0.1:8081")
//	…
//	edge := &proxyedge.Edge{
//		Metered: func(host string, port int) bool { return host == "api.example.com" && port == 443 },
//		Daemon: func() (proxyedge.Daemon, error) {
//			return proxyedge.Daemon{Proxy: "127.0.0.1:8090", HealthURL: "http://127.0.0.1:8765/health"}, nil
//		},
//		Key: func() []byte { return key },
//	}
//	err = edge.Serve(ctx, ln)
//
// The daemon's half is a [Receiver] with the same key.
//
// # The handshake
//
// The edge opens a TCP connection to the daemon and sends
//
//	CONNECT api.example.com:443 HTTP/1.1
//	Halton-Nonce: <hex of 32 random bytes>
//	Halton-Client: <sealed with the key: who the client is>
//
// The daemon answers, without dialling anybody, 200 or 503 with
//
//	Halton-Proof: <hex of an HMAC-SHA256 with the key>
//	Halton-Reason: <why not, on a 503>
//
// over the nonce, the authority, the answer and the address of the daemon's
// end of the connection. A program that merely holds the daemon's port learns
// the host and the port and nothing else, and cannot relay the challenge to
// the real daemon, whose end has another address. Without a valid proof the
// edge closes the connection and goes direct.
//
// A program of the same user that has read the key can be the daemon, or ask
// it as an edge. Nothing can be done about that: it could as well read the
// clients' own keys, or trace the clients themselves. What such a program gets
// is the ciphertext of TLS tunnels, and in clear what goes to base URLs.
//
// # The commit point
//
// After the proof the edge answers the client and relays, and keeps what the
// client sends until the daemon's first byte arrives. Up to that byte a
// failure of the daemon is repaired: the kept bytes go to the destination on
// a direct tunnel. After it the tunnel never switches. Of tunnels only TLS is
// chained: a TLS client sends no request before the server's first byte, so
// that nothing can reach the destination twice.
//
// # Requests
//
// A request to a base URL, or in absolute form, is forwarded by the edge
// itself: to the daemon, in a tunnel of its own that is marked as [Chain.Plain]
// in the sealed field, or over TLS to the target. Here the proof is the commit
// point, since a service may think for minutes before its first byte. If the
// daemon dies after it, the client's connection is closed as the service's
// own death would have done, and nothing is repeated.
//
// Path, query, header and body arrive as they were sent, piece by piece, with
// trailers, 100-continue and WebSocket upgrades. Host becomes the target's;
// Halton-*, Proxy-* and what belongs to one connection (RFC 9110 section
// 7.6.1) end here. A request that two parsers could read differently is
// answered with 400.
//
// A request that another edge or a daemon has sent to this one, as its parent
// proxy, goes on without a daemon; one that has passed this very edge goes
// straight to its destination. Via tells, between proxies of ours only.
//
// # Upgrades
//
// A new version of the program need not cost anybody a connection. Upgrade
// brings everything to rest for a moment, and execs the new program in the
// same process: the listeners stay open in the kernel, and open tunnels go on
// byte for byte where they were, chained, direct or half-closed. Requests that
// the edge forwards itself are let finish before. The new program begins with
// [Inherited] and [Edge.Resume]:
//
//	in, err := proxyedge.Inherited() // log err: it may have cost tunnels
//	ln := … // in.Listeners[0], if there is one
//	edge.Resume(in)
//	err = edge.Serve(ctx, ln)
//
// What the edge speaks TLS to cannot be moved: while a tunnel through an https
// parent proxy is open, or a WebSocket on a base URL, Upgrade says [ErrBusy]
// and disturbs nothing.
//
// # Silence
//
// A tunnel that carries nothing for a second or two lets its goroutines go:
// one epoll or kqueue waits for the sockets of all that sleep. It costs its two
// descriptors and about 4 KB of memory, most of it peak use that the runtime
// keeps; see [Edge.Release].
//
// # Ownership
//
// Serve owns its listener and every connection it accepted, and returns only
// when all of them are closed. An Edge and a Receiver keep no goroutine
// outside Serve, except a health probe that overstays its deadline.
//
// # What it does not do
//
// It does not look into TLS, resolve names for metered hosts while the daemon
// is healthy, answer 407, speak HTTP/2 or SOCKS, or authenticate clients:
// listen on loopback only. It does not build on systems other than macOS and
// Linux.
package proxyedge
