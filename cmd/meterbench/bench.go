package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"time"
)

// bench is one run of the program.
type bench struct {
	*workshop
	origin *origin
	out    io.Writer
	peers  []string // the names of those that may take part

	rounds       int
	samples      int   // of each contender in a round
	bulk         int64 // bytes of a bulk transfer
	tunnels      int   // idle ones
	settle       time.Duration
	streamRounds int
	streamCounts []int
	events       int // a second, of all streams together
	duration     time.Duration
	profileFile  string

	quiet, full *product // made when first asked for
	lost        int      // by full, as far as it was told
}

// unmetering is a product whose daemon was never started.
func (b *bench) unmetering(ctx context.Context) (*product, error) {
	if b.quiet == nil {
		p, err := b.install(ctx, false)
		if err != nil {
			return nil, err
		}
		b.quiet = p
	}
	return b.quiet, nil
}

// metering is a product whose daemon runs.
func (b *bench) metering(ctx context.Context) (*product, error) {
	if b.full == nil {
		p, err := b.install(ctx, true)
		if err != nil {
			return nil, err
		}
		b.full = p
	}
	return b.full, nil
}

// direct is no proxy at all.
func (b *bench) direct() contender {
	return contender{name: "direct", addr: b.origin.Address}
}

// directMetered is the same with TLS; its certificate is the origin's.
func (b *bench) directMetered() contender {
	c := b.direct()
	roots, err := trust(b.origin.caFile)
	if err != nil {
		// This program wrote the file.
		panic(err)
	}
	c.trust = roots
	return c
}

// intercepting are the contenders that terminate TLS, the product first.
func (b *bench) intercepting(ctx context.Context, t *table) ([]contender, error) {
	p, err := b.metering(ctx)
	if err != nil {
		return nil, err
	}
	c, err := p.metered(ctx, metered, edgeJob, daemonJob)
	if err != nil {
		return nil, err
	}
	return append([]contender{c}, b.runPeers(ctx, t, true)...), nil
}

// each makes entrants of the contenders, which all do the same work.
func (b *bench) each(all []contender, work func(context.Context, contender) (result, error)) []entrant {
	var entrants []entrant
	for _, c := range all {
		entrants = append(entrants, entrant{c.name, func(ctx context.Context) (result, error) { return work(ctx, c) }})
	}
	return entrants
}

// publishMetered says what the daemon missed, and publishes.
func (b *bench) publishMetered(ctx context.Context, t *table) error {
	p, err := b.metering(ctx)
	if err != nil {
		return err
	}
	r, err := p.status(ctx)
	if err != nil {
		return err
	}
	if n := r.Traffic.Lost - b.lost; n > 0 {
		t.note("%s: %d connections passed unmetered, because the daemon did not answer in time.", metered, n)
	}
	b.lost = r.Traffic.Lost
	return b.publish(t)
}

// publish prints the table and its claims.
func (b *bench) publish(t *table) error {
	t.print(b.out)
	if len(t.claims) > 0 {
		fmt.Fprintln(b.out)
	}
	for _, c := range t.claims {
		fmt.Fprintln(b.out, "-", c)
	}
	return nil
}

// foreignLoad is how busy the machine is while this program waits, as a share
// of all its processors.
func foreignLoad(ctx context.Context, d time.Duration) (float64, error) {
	before, err := busyTime()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := pause(ctx, d); err != nil {
		return 0, err
	}
	after, err := busyTime()
	if err != nil {
		return 0, err
	}
	return (after - before).Seconds() / time.Since(start).Seconds() / float64(runtime.NumCPU()), nil
}

func num(n int) string { return strconv.Itoa(n) }
