package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/internal/process"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/meter/ledger"
	"github.com/haltonlabs/halton-meter/meter/pricing"
)

func (p *Patient) ledger(ctx context.Context) Finding {
	rep, err := ledger.Check(ctx, p.Paths.State, false)
	if err != nil {
		return advise(Broken, err.Error(), "halton-meter db check")
	}
	switch {
	case errors.Is(rep.Err, ledger.ErrNewerSchema):
		return advise(Broken, rep.Err.Error(), "install the newer halton-meter again; rows wait in the journal until then")
	case errors.Is(rep.Err, ledger.ErrForeign):
		return advise(Broken, rep.Err.Error(), "mv "+rep.Path+" "+rep.Path+".foreign, then halton-meter start")
	case errors.Is(rep.Err, ledger.ErrOlderSchema):
		return mend(Inconsistent, rep.Err.Error(), meter(Stop, "stop"), meter(Start, "start"))
	case rep.Err != nil:
		return mend(Broken, rep.Path+": "+rep.Err.Error(), meter(Stop, "stop"), meter(Repair, "db", "recover"), meter(Start, "start"))
	}
	for _, s := range rep.SetAside {
		if s.Recovery == nil {
			return mend(Inconsistent, "a corrupt database was set aside as "+s.Path+", and its rows are not back yet", meter(Repair, "db", "recover"))
		}
	}
	if rep.Pending > 0 && !rep.InUse {
		return mend(Inconsistent, fmt.Sprintf("%d rows wait in the journal, and no daemon stores them", rep.Pending), meter(Start, "start"))
	}
	return ok(fmt.Sprintf("%d rows, %s: ok", rep.Rows, rep.Test))
}

// stalePrices is when the bundled price book is so old that models have
// appeared, and prices changed, since.
const stalePrices = 120 * 24 * time.Hour

func (p *Patient) prices(context.Context) Finding {
	source := pricing.Bundled().Source()
	date, err := time.Parse(time.DateOnly, strings.TrimPrefix(source, "bundled-"))
	if err == nil && p.Now().Sub(date) > stalePrices {
		return advise(Inconsistent, "the price book is of "+date.Format(time.DateOnly)+": newer models are unpriced, and prices may have changed", "upgrade halton-meter, or name prices in [pricing] of "+p.Paths.Config()+"; then halton-meter pricing backfill")
	}
	return ok(source)
}

// recent is how long a post-mortem is worth a look.
const recent = 24 * time.Hour

func (p *Patient) postmortems(ctx context.Context) Finding {
	path := p.Paths.Postmortem()
	data, err := smallfile.Read(path, smallfile.Max)
	if err != nil || len(bytes.TrimSpace(data)) == 0 {
		return ok("none")
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	var last launchd.Postmortem
	if err := json.Unmarshal(lines[len(lines)-1], &last); err != nil {
		return advise(Inconsistent, "the last line of "+path+" cannot be read: "+err.Error(), "look at the file")
	}
	if p.Now().Sub(last.Time) > recent {
		return ok(fmt.Sprintf("%d, the last at %s", len(lines), last.Time.UTC().Format(time.RFC3339)))
	}
	if p.startedAfter(ctx, last.Label, last.Time) {
		return ok(fmt.Sprintf("%d, the last of %s, which runs now", len(lines), last.Label))
	}
	reason := ""
	if n := len(last.Attempts); n > 0 {
		reason = fmt.Sprintf(" (%d attempts, the last ended with code %d: %s)", n, last.Attempts[n-1].Code, strings.TrimSpace(last.Attempts[n-1].Stderr))
	}
	return advise(Inconsistent, "launchd refused "+last.Label+" at "+last.Time.UTC().Format(time.RFC3339)+reason, "look at "+path+"; halton-meter start tries again")
}

// startedAfter reports whether the job has a process that is younger than at,
// or needs none.
func (p *Patient) startedAfter(ctx context.Context, label string, at time.Time) bool {
	svc, err := p.look(ctx, label)
	if err != nil || svc == nil || svc.PID == 0 {
		// The one-shot has none. It is loaded, which is what was refused.
		return svc != nil && label == agents.UserEnv
	}
	started, err := process.StartTime(svc.PID)
	return err == nil && started.After(at)
}
