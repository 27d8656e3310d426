package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// metered is the row of the product in full: both hops, every exchange with a
// row in the ledger.
const metered = "edge + daemon"

// requests measures what is added to a request on a connection that is kept.
func (b *bench) requests(ctx context.Context) error {
	const many = 16
	together := fmt.Sprintf("%d clients", many)
	t := newTable("Keep-alive requests with TLS interception (2 KB up, 1 KB down)",
		figure{name: "p50"}, figure{name: "p99"},
		figure{name: "added p50", base: metered}, figure{name: "added p99", base: metered},
		figure{name: together, unit: perSecond}, figure{name: "CPU per request", base: metered})
	all, err := b.intercepting(ctx, t)
	if err != nil {
		return err
	}
	all = append([]contender{b.directMetered()}, all...)
	callers := map[string]*caller{}
	defer func() {
		for _, c := range callers {
			c.close()
		}
	}()
	t.note("%s requests in each of %s rounds, one after the other on one connection, then %s by %d clients at once. Ratios of what is added, and of the CPU, are to %s.", num(b.samples), num(b.rounds), num(b.samples), many, metered)
	if err := interleave(ctx, t, b.rounds, b.each(all, func(ctx context.Context, c contender) (result, error) {
		client := callers[c.name]
		if client == nil {
			var err error
			if client, err = c.call(ctx); err != nil {
				return nil, err
			}
			callers[c.name] = client
		}
		before, errBefore := c.usage()
		r, err := b.timed(b.samples, func() (time.Duration, error) {
			start := time.Now()
			err := client.exchange()
			return time.Since(start), err
		})
		if err != nil {
			return nil, err
		}
		after, errAfter := c.usage()
		if errBefore == nil && errAfter == nil && after.cpu >= 0 {
			r["CPU per request"] = (after.cpu - before.cpu).Seconds() / float64(b.samples)
		}
		r[together], err = b.rate(ctx, c, many)
		return r, err
	})); err != nil {
		return err
	}
	t.addOver("direct", "p50", "p99")
	t.claim("added p50 per request against mitmproxy's", t.ratio(metered, "mitmproxy", "added p50").mid, 0.5)
	t.claim("added p99 per request against mitmproxy's", t.ratio(metered, "mitmproxy", "added p99").mid, 1)
	t.claim(fmt.Sprintf("mitmproxy's requests per second with %d clients against ours", many), t.ratio("mitmproxy", metered, together).mid, 1)
	return b.publishMetered(ctx, t)
}

// rate is how many requests the clients get done in a second.
func (b *bench) rate(ctx context.Context, c contender, clients int) (float64, error) {
	callers := make([]*caller, clients)
	defer func() {
		for _, client := range callers {
			if client != nil {
				client.close()
			}
		}
	}()
	if err := parallel(ctx, clients, func(i int) (err error) {
		callers[i], err = c.call(ctx)
		return err
	}); err != nil {
		return 0, err
	}
	each := max(b.samples/clients, 1)
	errs := make([]error, clients)
	var working sync.WaitGroup
	start := time.Now()
	for i, client := range callers {
		working.Go(func() {
			for range each {
				if errs[i] = client.exchange(); errs[i] != nil {
					return
				}
			}
		})
	}
	working.Wait()
	took := time.Since(start)
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return float64(each*clients) / took.Seconds(), nil
}
