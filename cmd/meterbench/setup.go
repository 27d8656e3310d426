package main

import (
	"context"
	"io"
	"net"
	"time"
)

// setup measures how long a tunnel takes to open and to carry a byte there and
// back, and how long a metered connection takes to its first answer.
func (b *bench) setup(ctx context.Context) error {
	if err := b.setupTunnel(ctx); err != nil {
		return err
	}
	return b.setupMetered(ctx)
}

func (b *bench) setupTunnel(ctx context.Context) error {
	t := newTable("Tunnel set-up and one byte there and back", figure{name: "p50"}, figure{name: "p99"})
	idle, err := b.unmetering(ctx)
	if err != nil {
		return err
	}
	edge, err := idle.contender(ctx, "edge", b.origin.Address)
	if err != nil {
		return err
	}
	all := append([]contender{b.direct(), edge}, b.runPeers(ctx, t, false)...)
	all = append(all, edge.to("edge, metered host, no daemon", meteredHost+":443"))
	t.note("%s connections in each of %s rounds. haproxy is a plain TCP relay: it reads no CONNECT. A metered host is reached through a parent proxy, a second CONNECT.", num(b.samples), num(b.rounds))
	if err := interleave(ctx, t, b.rounds, b.each(all, func(ctx context.Context, c contender) (result, error) {
		return b.timed(b.samples, func() (time.Duration, error) {
			start := time.Now()
			conn, err := c.open(ctx)
			if err != nil {
				return 0, err
			}
			defer conn.Close()
			err = pingOnce(conn)
			return time.Since(start), err
		})
	})); err != nil {
		return err
	}
	for _, peer := range []string{"tinyproxy", "squid", "haproxy"} {
		t.claim("set-up through the edge against "+peer, t.ratio("edge", peer, "p50").mid, 1)
	}
	return b.publish(t)
}

// setupMetered opens connections to a metered host, TLS included, until the
// first answer is read.
func (b *bench) setupMetered(ctx context.Context) error {
	t := newTable("New connection to a metered host: CONNECT, TLS, one request", figure{name: "p50"}, figure{name: "p99"})
	idle, err := b.unmetering(ctx)
	if err != nil {
		return err
	}
	blind, err := idle.contender(ctx, "edge, no daemon", meteredHost+":443")
	if err != nil {
		return err
	}
	direct := b.directMetered()
	blind.trust = direct.trust // nobody intercepts
	all, err := b.intercepting(ctx, t)
	if err != nil {
		return err
	}
	all = append([]contender{direct, blind}, all...)
	samples := max(b.samples/4, 1)
	t.note("%s connections in each of %s rounds, full handshakes.", num(samples), num(b.rounds))
	if err := interleave(ctx, t, b.rounds, b.each(all, func(ctx context.Context, c contender) (result, error) {
		return b.timed(samples, func() (time.Duration, error) {
			start := time.Now()
			client, err := c.call(ctx)
			if err != nil {
				return 0, err
			}
			defer client.close()
			err = client.exchange()
			return time.Since(start), err
		})
	})); err != nil {
		return err
	}
	t.claim("new connection through edge and daemon against mitmproxy", t.ratio(metered, "mitmproxy", "p50").mid, 1)
	return b.publishMetered(ctx, t)
}

// timed repeats what is timed and gives its percentiles.
func (b *bench) timed(n int, once func() (time.Duration, error)) (result, error) {
	samples := make([]float64, 0, n)
	for range n {
		d, err := once()
		if err != nil {
			return nil, err
		}
		samples = append(samples, d.Seconds())
	}
	return result{"p50": percentile(samples, 0.5), "p99": percentile(samples, 0.99)}, nil
}

// startEcho makes the origin send back every n bytes.
func startEcho(conn net.Conn, n int) error {
	_, err := conn.Write(command(cmdEcho, int64(n)))
	return err
}

func ping(conn net.Conn, b []byte) error {
	if _, err := conn.Write(b); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, b)
	return err
}

// pingOnce sends the echo's command with its first byte, in one write.
func pingOnce(conn net.Conn) error {
	message := append(command(cmdEcho, 1), 'x')
	if _, err := conn.Write(message); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, message[:1])
	return err
}
