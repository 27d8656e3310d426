package doctor

import (
	"context"
	"errors"
	"fmt"
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
	// why not; warnings are what is amiss all the same.
	Health func(ctx context.Context, port int) (Health, error)
	// LastWords is why a job that has ended says it failed, "" if its log does
	// not tell.
	LastWords func(label string) string

	absent bool  // nothing is installed
	blind  bool  // what was found keeps all else from being judged
	stuck  bool  // no daemon would start with this configuration
	mute   error // the supervisor does not answer
	conf   config.Config
}

// Health is the daemon's word on itself.
type Health struct {
	Version  string
	Warnings []string
}

// supervisorPatience is how long one question to the supervisor may take. All
// but a hung one answer within milliseconds.
const supervisorPatience = 5 * time.Second

// ask puts a question to the supervisor. One that hangs is asked once only.
func (p *Patient) ask(ctx context.Context, question func(context.Context) error) error {
	if p.mute != nil {
		return p.mute
	}
	bounded, cancel := context.WithTimeout(ctx, supervisorPatience)
	defer cancel()
	err := question(bounded)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		p.mute = fmt.Errorf("%w within %s", launchd.ErrNoAnswer, supervisorPatience)
		return p.mute
	}
	return err
}

// look asks launchd for one of our jobs, nil if it is not loaded.
func (p *Patient) look(ctx context.Context, label string) (svc *launchd.Service, err error) {
	err = p.ask(ctx, func(ctx context.Context) error {
		svc, err = p.Supervisor.Print(ctx, p.Supervisor.Target(label))
		return err
	})
	if errors.Is(err, launchd.ErrNotLoaded) {
		return nil, nil
	}
	return svc, err
}

// loginVariable is a variable of launchd's environment, "" if it has none.
func (p *Patient) loginVariable(ctx context.Context, name string) (v string) {
	err := p.ask(ctx, func(ctx context.Context) (err error) {
		v, err = p.Supervisor.Getenv(ctx, name)
		return err
	})
	if err != nil {
		return ""
	}
	return v
}

// record is the daemon's record of its ports.
func (p *Patient) record() (portalloc.Record, error) { return portalloc.ReadRecord(p.Paths.Ports()) }

// edgeReport is what the edge says of itself.
func (p *Patient) edgeReport(ctx context.Context) (edgectl.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return edgectl.Ask(ctx, p.Paths.EdgeSocket())
}
