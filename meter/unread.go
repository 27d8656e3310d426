package meter

import (
	"fmt"
	"time"

	"github.com/haltonlabs/halton-meter/meter/capture"
)

// unreadReasons says in words why a tunnel that came to the daemon was passed
// through unread. What the edge should not have sent is not among them.
var unreadReasons = []struct{ reason, words string }{
	{"sni", "named another server than the tunnel does, as with an encrypted ClientHello"},
	{"protocol", "offered no protocol in common"},
	{"not-tls", "spoke no TLS"},
	{"unpermitted", "went to a host for which the certificate authority may not vouch"},
	{"leaf", "got no certificate"},
}

// unread says which hosts and connections pass unmetered, for people.
func unread(bypassed []capture.Bypassed, c capture.Counters) []string {
	var out []string
	for _, b := range bypassed {
		if b.Reason == "challenged" {
			out = append(out, fmt.Sprintf("%s took the meter for a bot (a Cloudflare challenge), and passes unmetered until %s",
				b.Host, b.Until.Local().Format(time.TimeOnly)))
			continue
		}
		out = append(out, fmt.Sprintf("the certificate of %s does not verify, and its calls pass unmetered until it does: %v", b.Host, b.Err))
	}
	for _, r := range unreadReasons {
		if n := c.Tunneled[r.reason]; n > 0 {
			out = append(out, fmt.Sprintf("connections that passed unmetered because the client %s: %d since the daemon's start", r.words, n))
		}
	}
	return out
}
