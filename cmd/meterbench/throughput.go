package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// pingSize is the size of a small event of a stream.
const pingSize = 256

// throughput measures bulk transfers through one tunnel and through many, and
// small messages there and back in an open tunnel.
func (b *bench) throughput(ctx context.Context) error {
	const many = 16
	t := newTable("Open tunnels: bulk transfer and small messages",
		figure{name: "down, 1 tunnel", unit: inBytesPerSecond}, figure{name: "up, 1 tunnel", unit: inBytesPerSecond},
		figure{name: fmt.Sprintf("down, %d tunnels", many), unit: inBytesPerSecond},
		figure{name: "256 B there and back, p50"}, figure{name: "256 B there and back, p99"},
		figure{name: "CPU per GB", base: "edge"})
	idle, err := b.unmetering(ctx)
	if err != nil {
		return err
	}
	edge, err := idle.contender(ctx, "edge", b.origin.Address, edgeJob)
	if err != nil {
		return err
	}
	all := append([]contender{b.direct(), edge}, b.runPeers(ctx, t, false)...)
	t.note("%s each way and %s messages in each of %s rounds. The CPU is the proxy's own.", inBytes.format(float64(b.bulk)), num(b.samples), num(b.rounds))
	if err := interleave(ctx, t, b.rounds, b.each(all, func(ctx context.Context, c contender) (result, error) {
		r, err := b.pings(ctx, c)
		if err != nil {
			return nil, err
		}
		before, errBefore := c.usage()
		for _, part := range []struct {
			name    string
			command byte
			tunnels int
		}{{"down, 1 tunnel", cmdSend, 1}, {"up, 1 tunnel", cmdTake, 1}, {fmt.Sprintf("down, %d tunnels", many), cmdSend, many}} {
			d, err := transfer(ctx, c, part.command, part.tunnels, b.bulk)
			if err != nil {
				return nil, err
			}
			r[part.name] = float64(b.bulk) / d.Seconds()
		}
		after, errAfter := c.usage()
		if errBefore == nil && errAfter == nil && after.cpu >= 0 {
			r["CPU per GB"] = (after.cpu - before.cpu).Seconds() / (3 * float64(b.bulk) / (1 << 30))
		}
		return r, nil
	})); err != nil {
		return err
	}
	return b.publish(t)
}

func (b *bench) pings(ctx context.Context, c contender) (result, error) {
	conn, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := startEcho(conn, pingSize); err != nil {
		return nil, err
	}
	message := make([]byte, pingSize)
	r, err := b.timed(b.samples, func() (time.Duration, error) {
		start := time.Now()
		err := ping(conn, message)
		return time.Since(start), err
	})
	if err != nil {
		return nil, err
	}
	return result{"256 B there and back, p50": r["p50"], "256 B there and back, p99": r["p99"]}, nil
}

// transfer moves total bytes, shared among the tunnels, and returns how long
// that took from the first command to the last byte.
func transfer(ctx context.Context, c contender, what byte, tunnels int, total int64) (time.Duration, error) {
	conns := make([]net.Conn, tunnels)
	for i := range conns {
		conn, err := c.open(ctx)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		defer stop()
		conns[i] = conn
	}
	each := max(total/int64(tunnels), 1)
	errs := make([]error, tunnels)
	var moving sync.WaitGroup
	start := time.Now()
	for i, conn := range conns {
		moving.Go(func() { errs[i] = move(conn, what, each) })
	}
	moving.Wait()
	took := time.Since(start)
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return took, nil
}

func move(conn net.Conn, what byte, n int64) error {
	if _, err := conn.Write(command(what, n)); err != nil {
		return err
	}
	if what == cmdTake {
		if err := send(conn, n); err != nil {
			return err
		}
		n = 1
	}
	b := bulkBuffers.Get().(*[bulk]byte)
	defer bulkBuffers.Put(b)
	// Not io.Copy, which would let the kernel discard what a client reads.
	for n > 0 {
		m, err := io.ReadAtLeast(conn, b[:min(n, bulk)], 1)
		if err != nil {
			return err
		}
		n -= int64(m)
	}
	return nil
}
