package doctor

import (
	"context"
	"errors"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/edgectl"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/mactools"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/portalloc"
)

// Patient is the installation that is examined, and the means to do it.
type Patient struct {
	Version    string
	Paths      agents.Paths
	Supervisor agents.Supervisor
	Tools      mactools.Tools
	Getenv     func(string) string
	Now        func() time.Time
	// Executable is the halton-meter that runs now; jobs run a copy.
	Executable string
	// RCFiles are the shell files that "init --apps" writes to.
	RCFiles []shellenv.RCFile
	// Health asks the daemon's API how it is: nil is a 200, an error says
	// why not. Warnings are what is amiss all the same.
	Health func(ctx context.Context, port int) (warnings []string, err error)

	absent bool // nothing is installed
	conf   config.Config
}

// look asks launchd for one of our jobs, nil if it is not loaded.
func (p *Patient) look(ctx context.Context, label string) (*launchd.Service, error) {
	svc, err := p.Supervisor.Print(ctx, p.Supervisor.Target(label))
	if errors.Is(err, launchd.ErrNotLoaded) {
		return nil, nil
	}
	return svc, err
}

// record is the daemon's record of its ports.
func (p *Patient) record() (portalloc.Record, error) { return portalloc.ReadRecord(p.Paths.Ports()) }

// edgeReport is what the edge says of itself.
func (p *Patient) edgeReport(ctx context.Context) (edgectl.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return edgectl.Ask(ctx, p.Paths.EdgeSocket())
}
