package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/internal/process"
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
		return mend(Broken, rep.Err.Error(), meter(Stop, "stop"), Command{Argv: []string{"mv", rep.Path, aside(rep.Path)}, Order: Repair}, meter(Start, "start"))
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
	if n := len(rep.SetAside); n > 0 {
		s := rep.SetAside[n-1]
		return advise(Inconsistent, fmt.Sprintf("a corrupt database was set aside as %s: %d of its rows could be read, and are back", s.Path, s.Recovery.Found), "when you need that file no more, rm "+s.Path+"*")
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
	data := tail(path)
	if len(data) == 0 {
		return ok("none")
	}
	var last launchd.Postmortem
	if err := json.Unmarshal(data[bytes.LastIndexByte(data, '\n')+1:], &last); err != nil {
		return mend(Inconsistent, "the last line of "+path+" cannot be read: "+err.Error(), Command{Argv: []string{"mv", path, aside(path)}})
	}
	if p.Now().Sub(last.Time) > recent {
		return ok("the last at " + last.Time.UTC().Format(time.RFC3339))
	}
	if p.startedAfter(ctx, last.Label, last.Time) {
		return ok("the last of " + last.Label + ", which runs now")
	}
	reason := ""
	if n := len(last.Attempts); n > 0 {
		reason = fmt.Sprintf(" (%d attempts, the last ended with code %d: %s)", n, last.Attempts[n-1].Code, strings.TrimSpace(last.Attempts[n-1].Stderr))
	}
	return advise(Inconsistent, "launchd refused "+last.Label+" at "+last.Time.UTC().Format(time.RFC3339)+reason, "look at "+path+"; halton-meter start tries again")
}

// tail is the end of a file, as much as its last line may have, without white
// space around it.
func tail(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	const most = 1 << 20
	if st, err := f.Stat(); err == nil && st.Size() > most {
		if _, err := f.Seek(-most, io.SeekEnd); err != nil {
			return nil
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil
	}
	return bytes.TrimSpace(data)
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
