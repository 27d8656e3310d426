package portalloc

import (
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestNegotiateProperty compares Negotiate with the rule of its doc, for any
// two names, any candidates, any last choice and any set of taken ports.
func TestNegotiateProperty(t *testing.T) {
	pool := freePorts(t, 7)
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		taken := rapid.SliceOfDistinct(rapid.SampledFrom(pool), rapid.ID[int]).Draw(rt, "taken")
		state := filepath.Join(dir, "ports.json")
		os.Remove(state)
		var n Negotiation
		n.StateFile = state
		last := map[string]int{}
		for _, name := range []string{"internal", "api"} {
			n.Ports = append(n.Ports, Port{
				Name:      name,
				Preferred: rapid.SampledFrom(pool).Draw(rt, name),
				Fallbacks: rapid.SliceOfN(rapid.SampledFrom(pool), 0, 4).Draw(rt, name+" fallbacks"),
				Pinned:    rapid.Bool().Draw(rt, name+" pinned"),
			})
			if p := rapid.SampledFrom(pool).Draw(rt, name+" last"); rapid.Bool().Draw(rt, name+" known") && !slices.Contains(slices.Collect(maps.Values(last)), p) {
				last[name] = p
			}
		}
		if n.Ports[0].Preferred == n.Ports[1].Preferred {
			n.Ports[1].Pinned = false // two pins of one port are refused
		}
		if err := (Record{Ports: last}).Write(state); err != nil {
			rt.Fatal(err)
		}
		var strangers []net.Listener
		defer func() {
			for _, ln := range strangers {
				ln.Close()
			}
		}()
		for _, port := range taken {
			strangers = append(strangers, mustListen(t, port))
		}

		want, failing := expect(n, last, taken)
		got, err := n.Negotiate(t.Context())
		if err != nil {
			var exhausted *ExhaustedError
			if !errors.As(err, &exhausted) || exhausted.Name != failing {
				rt.Fatalf("error %v, want exhaustion of %q", err, failing)
			}
			if r, err := ReadRecord(state); err != nil || !maps.Equal(r.Ports, last) {
				rt.Fatalf("the record became %v, %v", r.Ports, err)
			}
		} else {
			for name, port := range want {
				if got.Port(name) != port {
					rt.Fatalf("%s = %d, want %d", name, got.Port(name), port)
				}
			}
			if failing != "" || len(want) != len(n.Ports) {
				rt.Fatalf("got ports, want exhaustion of %q", failing)
			}
			r, err := ReadRecord(state)
			if err != nil || !maps.Equal(r.Ports, want) || !r.Live() {
				rt.Fatalf("record %+v, %v, want %v", r, err, want)
			}
			if err := got.Close(); err != nil {
				rt.Fatal(err)
			}
		}
		for _, port := range pool {
			if !slices.Contains(taken, port) {
				mustListen(t, port).Close()
			}
		}
	})
}

// expect says which ports the doc promises, or which name is exhausted.
func expect(n Negotiation, last map[string]int, taken []int) (map[string]int, string) {
	used := slices.Clone(taken)
	want := map[string]int{}
	for _, p := range n.Ports { // pins first
		if !p.Pinned {
			continue
		}
		if slices.Contains(used, p.Preferred) {
			return nil, p.Name
		}
		want[p.Name] = p.Preferred
		used = append(used, p.Preferred)
	}
	for _, p := range n.Ports {
		if p.Pinned {
			continue
		}
		all := append([]int{p.Preferred}, p.Fallbacks...)
		if slices.Contains(all, last[p.Name]) {
			all = append([]int{last[p.Name]}, all...)
		}
		i := slices.IndexFunc(all, func(port int) bool { return !slices.Contains(used, port) })
		if i < 0 {
			return nil, p.Name
		}
		want[p.Name] = all[i]
		used = append(used, all[i])
	}
	return want, ""
}
