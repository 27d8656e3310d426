//go:build !linux

package e2e

import (
	"fmt"
	"testing"

	"github.com/haltonlabs/halton-meter/internal/replay"
)

// startUpstream leads there through a parent proxy: without namespaces the
// providers' names cannot be given away.
func startUpstream(t *testing.T, recs []replay.Recording, hosts ...string) (*replay.Server, string) {
	t.Helper()
	s := replay.Start(t, "127.0.0.1:0", recs, hosts...)
	url, _ := s.ParentProxy(t)
	return s, fmt.Sprintf("proxy = %q\n", url)
}
