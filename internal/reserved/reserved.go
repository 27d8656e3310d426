// Package reserved holds the host name that the daemon answers by itself, so
// that an installation can test itself offline and for nothing.
//
// RFC 6761 section 6.4 keeps .invalid from ever being anybody's domain: where
// nothing of ours is at work, a request to the name fails, and goes nowhere.
package reserved

// Metered is answered by the daemon, under a leaf of the local authority: a
// request to it takes the whole way of a metered call.
const Metered = "self-test.halton-meter.invalid"
