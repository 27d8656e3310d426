package meter

import (
	"time"

	"github.com/haltonlabs/halton-meter/meter/ca"
)

// trustTime is how long after a new root the bundle has it, at the latest.
// The root's own time has a resolution of a second.
const trustTime = 2 * time.Second

// addedRoot is when the root was added that vouches for host, zero if that is
// the first one of all. Clients got to us by what came with the first, and a
// program that reads its roots only when it starts cannot know a later one.
func addedRoot(authority *ca.Authority, host string) time.Time {
	since, ok := authority.Since(host)
	if !ok || !since.After(authority.NotBefore()) && !authority.Replaced() {
		return time.Time{}
	}
	return since
}

// startedAfter reports whether the client surely knows a root of that time.
func (cl *client) startedAfter(root time.Time) bool {
	select {
	case <-cl.found:
		return cl.started.After(root.Add(trustTime))
	default:
		return false
	}
}
