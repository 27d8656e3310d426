package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// What a tunnel may hold at most.
const (
	claimedMemory      = 8 << 10
	claimedDescriptors = 2
)

// idle measures what thousands of tunnels hold that carry nothing: since they
// were opened, and since a byte went each way.
func (b *bench) idle(ctx context.Context) error {
	t := newTable(fmt.Sprintf("%d idle tunnels", b.tunnels),
		figure{name: "RSS each, opened", unit: inBytes}, figure{name: "RSS each, after traffic", unit: inBytes},
		figure{name: "Pss each, after traffic", unit: inBytes},
		figure{name: "descriptors each", unit: inCount})
	t.note("What the proxy's processes hold above what they held before, divided by %d. Traffic is a byte each way; for a chained tunnel, a TLS handshake and a request. Read %s after it.", b.tunnels, b.settle)
	// A product of its own for each row, so that none has grown before.
	fresh, err := b.install(ctx, false)
	if err != nil {
		return err
	}
	edge, err := fresh.contender(ctx, "edge", b.origin.Address, edgeJob)
	if err != nil {
		return err
	}
	chainedProduct, err := b.install(ctx, true)
	if err != nil {
		return err
	}
	chained, err := chainedProduct.metered(ctx, "edge, chained", edgeJob)
	if err != nil {
		return err
	}
	daemon, err := chainedProduct.metered(ctx, "daemon of the chained", daemonJob)
	if err != nil {
		return err
	}
	for _, c := range append([]contender{edge}, b.runPeers(ctx, t, false)...) {
		if err := b.holdIdle(ctx, t, []contender{c}, warm); err != nil {
			return err
		}
	}
	if err := b.holdIdle(ctx, t, []contender{chained, daemon}, warmMetered); err != nil {
		return err
	}
	for _, row := range []string{"edge", "edge, chained"} {
		t.claimIn(inBytes, row+": RSS of a tunnel before its first byte", median(t.values(row, "RSS each, opened")), claimedMemory)
		t.claimIn(inBytes, row+": RSS of an idle tunnel", median(t.values(row, "RSS each, after traffic")), claimedMemory)
		// The listener and a few others come and go.
		t.claimIn(inCount, row+": descriptors of an idle tunnel", median(t.values(row, "descriptors each")), claimedDescriptors+0.01)
	}
	for _, peer := range []string{"tinyproxy", "squid", "haproxy"} {
		t.claim("memory of an idle tunnel through the edge against "+peer, t.ratio("edge", peer, "RSS each, after traffic").mid, 1)
	}
	return b.publish(t)
}

// warm carries a byte each way through a tunnel that is open.
func warm(_ context.Context, _ contender, conn net.Conn) (net.Conn, error) {
	return conn, pingOnce(conn)
}

// warmMetered shakes hands and does a request.
func warmMetered(ctx context.Context, c contender, conn net.Conn) (net.Conn, error) {
	client, err := c.callOn(ctx, conn)
	if err != nil {
		return nil, err
	}
	return client.conn, client.exchange()
}

type warming func(ctx context.Context, c contender, conn net.Conn) (net.Conn, error)

// holdIdle opens the tunnels through the first of the rows, which are one way
// as seen by different processes, and adds a line for each row.
func (b *bench) holdIdle(ctx context.Context, t *table, rows []contender, use warming) error {
	r, err := b.holdTunnels(ctx, rows, use)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		t.note("%s failed: %v", rows[0].name, err)
	}
	for i, c := range rows {
		if r == nil {
			t.add(c.name, nil)
			continue
		}
		t.add(c.name, r[i])
	}
	return nil
}

func (b *bench) holdTunnels(ctx context.Context, rows []contender, use warming) ([]result, error) {
	way := rows[0]
	// The first tunnels touch code and tables that later ones share.
	first, err := openMany(ctx, way, min(b.tunnels, 64), use)
	closeAll(first)
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, b.settle); err != nil {
		return nil, err
	}
	before, err := usages(rows)
	if err != nil {
		return nil, err
	}
	conns, err := openMany(ctx, way, b.tunnels, nil)
	defer func() { closeAll(conns) }()
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, b.settle); err != nil {
		return nil, err
	}
	opened, err := usages(rows)
	if err != nil {
		return nil, err
	}
	if err := parallel(ctx, len(conns), func(i int) (err error) {
		conn, err := use(ctx, way, conns[i])
		if err == nil {
			conns[i] = conn
		}
		return err
	}); err != nil {
		return nil, err
	}
	if err := pause(ctx, b.settle); err != nil {
		return nil, err
	}
	used, err := usages(rows)
	if err != nil {
		return nil, err
	}
	each := float64(len(conns))
	var all []result
	for i := range rows {
		r := result{
			"RSS each, opened":        float64(opened[i].rss-before[i].rss) / each,
			"RSS each, after traffic": float64(used[i].rss-before[i].rss) / each,
		}
		if used[i].pss >= 0 {
			r["Pss each, after traffic"] = float64(used[i].pss-before[i].pss) / each
		}
		if used[i].fds >= 0 {
			r["descriptors each"] = float64(used[i].fds-before[i].fds) / each
		}
		all = append(all, r)
	}
	return all, nil
}

func usages(rows []contender) ([]usage, error) {
	var all []usage
	for _, c := range rows {
		u, err := c.usage()
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}

// openMany opens n tunnels, and uses each if use is not nil. It returns those
// that it opened even with an error.
func openMany(ctx context.Context, c contender, n int, use warming) ([]net.Conn, error) {
	conns := make([]net.Conn, n)
	err := parallel(ctx, n, func(i int) error {
		conn, err := c.open(ctx)
		if err != nil {
			return err
		}
		conns[i] = conn
		if use != nil {
			used, err := use(ctx, c, conn)
			if err != nil {
				return err
			}
			conns[i] = used
		}
		return nil
	})
	return conns, err
}

func closeAll(conns []net.Conn) {
	for _, conn := range conns {
		if conn != nil {
			conn.Close()
		}
	}
}

// parallel does n pieces of work, a few at a time.
func parallel(ctx context.Context, n int, do func(i int) error) error {
	const workers = 8
	errs := make([]error, workers)
	var working sync.WaitGroup
	for w := range workers {
		working.Go(func() {
			for i := w; i < n && ctx.Err() == nil; i += workers {
				if err := do(i); err != nil {
					errs[w] = err
					return
				}
			}
		})
	}
	working.Wait()
	return errors.Join(errs...)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
