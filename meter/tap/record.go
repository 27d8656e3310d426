package tap

import (
	"net/netip"
	"time"

	"github.com/haltonlabs/halton-meter/meter/provider"
)

// Exchange is what is known of an exchange before it is forwarded.
type Exchange struct {
	// ID is the row's id, a random UUID, fixed before forwarding so that
	// every write of the row is idempotent.
	ID          string
	RequestedAt time.Time
	Method      string
	// Host is the provider's host name, lower case, without port.
	Host string
	// Path is the request's path without its query, which may hold keys.
	Path     string
	Endpoint provider.Endpoint
	// Client is the address from which the tool connected to the edge.
	Client netip.AddrPort
	// ProxyUser is the user part of the proxy URL, decoded: the project that
	// the client chose, or "".
	ProxyUser string
	// UserAgent is the client's own name for itself, cut to 200 bytes.
	UserAgent string
}

// Outcome says how an exchange ended.
type Outcome string

// The outcomes of an exchange.
const (
	// Completed: the response was forwarded to its end.
	Completed Outcome = "completed"
	// ClientAborted: the client went away before the end.
	ClientAborted Outcome = "client_aborted"
	// UpstreamFailed: the provider could not be reached, or broke off.
	UpstreamFailed Outcome = "upstream_failed"
)

// Record is one exchange, seen to its end.
type Record struct {
	Exchange
	provider.Result
	// Origin is what the client's request says of where it comes from.
	Origin provider.Origin

	Outcome Outcome
	// Err is the transport's error if Outcome is UpstreamFailed.
	Err error
	// HTTPStatus is the response's status, 0 if there was none.
	HTTPStatus int
	// Latency is from the request to the last byte of the response.
	Latency time.Duration
	// FirstByte is from the request to the first byte of the response's
	// body, 0 if there was none.
	FirstByte time.Duration
	// Dropped is how many copied bytes the tap had no room for. The client
	// got them; the usage may lack them.
	Dropped int64
}
