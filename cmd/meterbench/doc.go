// Command meterbench measures halton-meter and its peers side by side.
//
//	go run ./cmd/meterbench -h
//	go run ./cmd/meterbench edge            # the always-on port
//	go run ./cmd/meterbench capture         # with the daemon, TLS intercepted
//	go run ./cmd/meterbench -duration 60s -rounds 15 all
//
// It builds the real program, installs it in a temporary HOME on free ports,
// and starts the peers that are installed (tinyproxy, squid, haproxy,
// mitmproxy) with configurations of its own. The provider is a process of its
// own too, the origin: it speaks TLS under a provider's name, and answers
// CONNECT as a parent proxy would, so that every contender reaches it over the
// same number of hops and nothing leaves 127.0.0.1. At the end, and at Ctrl-C,
// all of them are gone.
//
// # How to read the tables
//
// A row is a contender, a column a figure. The contenders take turns in
// rounds, and what else the machine does meets all of them alike. A cell such
// as
//
//	181 µs ×2.13 (2.05–2.31)
//
// says: 181 µs is the median of the rounds; divided by the first row's value of
// the same round, the median is 2.13, and all rounds lie between 2.05 and
// 2.31. The ratios are what can be compared between machines; the figures
// themselves cannot. A column that says "added" is what exceeds the direct
// connection in the same round, and its ratio is to the product's row.
//
// Below a table stand its notes (which peers were missing, who failed), and
// the product's claims: "holds" or "FAILS".
//
// An event's delay counts from when the origin was due to send it, so that a
// proxy which holds the origin up does not make the origin look late. Memory
// is resident memory of all processes of a contender, read from /proc; where
// there is none, ps knows less and the columns stay empty.
//
// # What it does not do
//
// It measures HTTP/1.1 clients, which most SDKs are. It passes no judgement by
// its exit code: a figure is for a person to read.
package main
