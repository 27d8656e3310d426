// Package reserved holds the host names that edge and daemon answer by
// themselves, so that an installation can test itself offline and for nothing.
//
// RFC 6761 section 6.4 keeps .invalid from ever being anybody's domain: where
// nothing of ours is at work, a request to these names fails, and goes nowhere.
package reserved

const (
	// Metered is answered by the daemon, under a leaf of the local authority:
	// a request to it takes the whole way of a metered call.
	Metered = "self-test.halton-meter.invalid"
	// Passthrough is answered by the edge.
	Passthrough = "passthrough.halton-meter.invalid"
)
