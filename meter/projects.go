package meter

import (
	"time"

	"github.com/haltonlabs/halton-meter/meter/attribution"
)

const (
	// resolveTimeout is how long the files of a client's directory may take.
	resolveTimeout = time.Second
	// maxResolving bounds how many directories are looked at: each look at a
	// network mount that hangs holds a thread until the mount comes back.
	maxResolving = 16
)

// projects finds projects without ever waiting for a file system that hangs.
type projects struct {
	resolver attribution.Resolver
	slots    chan struct{}
}

func newProjects(r attribution.Resolver) projects {
	return projects{resolver: r, slots: make(chan struct{}, maxResolving)}
}

// resolve is the resolver's answer, or if that does not come in time the one
// that needs no files.
func (p projects) resolve(f attribution.Facts) (project, source string) {
	type answer struct{ project, source string }
	late := time.NewTimer(resolveTimeout)
	defer late.Stop()
	select {
	case p.slots <- struct{}{}:
	case <-late.C:
		return p.resolver.Resolve(f.WithoutFiles())
	}
	answers := make(chan answer, 1)
	go func() {
		defer func() { <-p.slots }()
		project, source := p.resolver.Resolve(f)
		answers <- answer{project, source}
	}()
	select {
	case a := <-answers:
		return a.project, a.source
	case <-late.C:
		return p.resolver.Resolve(f.WithoutFiles())
	}
}
