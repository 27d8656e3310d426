package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What the streams may cost at most.
const (
	claimedDelay  = 1.0 / 6 // of mitmproxy's added p99, with 100 streams
	claimedDaemon = 100 << 20
)

// streamWarmup is how long streams run before they are measured.
const streamWarmup = time.Second

// streams measures what is added to each event of many streams at once. All
// streams together send b.events events a second.
func (b *bench) streams(ctx context.Context) error {
	for _, n := range b.streamCounts {
		if err := b.streamsAtOnce(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) streamsAtOnce(ctx context.Context, n int) error {
	pace := time.Duration(n) * time.Second / time.Duration(b.events)
	t := newTable(fmt.Sprintf("%d concurrent streams with TLS interception", n),
		figure{name: "p50"}, figure{name: "p99"},
		figure{name: "added p50", base: metered}, figure{name: "added p99", base: metered},
		figure{name: "CPU", unit: inPercent, base: metered},
		figure{name: "greatest RSS", unit: inBytes, base: metered})
	t.note("From when an event was due to when the client has read it; an event every %v in each stream for %v in each of %s rounds. %s's RSS is the daemon's, its CPU that of edge and daemon. Ratios of what is added, of the CPU and of the RSS are to %s.", pace, b.duration, num(b.streamRounds), metered, metered)
	all, err := b.intercepting(ctx, t)
	if err != nil {
		return err
	}
	daemon, err := b.metering(ctx)
	if err != nil {
		return err
	}
	memory, err := daemon.contender(ctx, "daemon", "", daemonJob)
	if err != nil {
		return err
	}
	all = append([]contender{b.directMetered()}, all...)
	if err := interleave(ctx, t, b.streamRounds, b.each(all, func(ctx context.Context, c contender) (result, error) {
		held := c
		if c.name == metered {
			held = memory
		}
		return b.streamRound(ctx, c, held, n, pace)
	})); err != nil {
		return err
	}
	t.addOver("direct", "p50", "p99")
	limit := 1.0
	if n == 100 {
		limit = claimedDelay
	}
	t.claim(fmt.Sprintf("added event delay p50 against mitmproxy's, %d streams", n), t.ratio(metered, "mitmproxy", "added p50").mid, 1)
	t.claim(fmt.Sprintf("added event delay p99 against mitmproxy's, %d streams", n), t.ratio(metered, "mitmproxy", "added p99").mid, limit)
	t.claim(fmt.Sprintf("the daemon's RSS against mitmproxy's, %d streams", n), t.ratio(metered, "mitmproxy", "greatest RSS").mid, 1)
	t.claimIn(inBytes, fmt.Sprintf("the daemon's RSS, %d streams", n), spreadOf(t.values(metered, "greatest RSS")).high, claimedDaemon)
	return b.publishMetered(ctx, t)
}

// streamRound opens n streams at once, and follows them to their end.
func (b *bench) streamRound(ctx context.Context, c, held contender, n int, pace time.Duration) (result, error) {
	callers := make([]*caller, n)
	defer func() {
		for _, client := range callers {
			if client != nil {
				client.close()
			}
		}
	}()
	if err := parallel(ctx, n, func(i int) (err error) {
		callers[i], err = c.call(ctx)
		return err
	}); err != nil {
		return nil, err
	}
	events := int((streamWarmup + b.duration) / pace)
	skip := int(streamWarmup / pace)
	query := fmt.Sprintf("?events=%d&pace=%s", events, pace)

	delays := make([][]float64, n)
	errs := make([]error, n)
	var reading sync.WaitGroup
	for i, client := range callers {
		reading.Go(func() { delays[i], errs[i] = client.follow(query, events, skip) })
	}
	done := make(chan struct{})
	go func() { reading.Wait(); close(done) }()
	before, errBefore := c.usage()
	start := time.Now()
	memory, err := watchMemory(ctx, held, done)
	if err != nil {
		for _, client := range callers {
			client.close()
		}
		<-done
		return nil, err
	}
	after, errAfter := c.usage()
	took := time.Since(start)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var all []float64
	for _, d := range delays {
		all = append(all, d...)
	}
	r := result{"p50": percentile(all, 0.5), "p99": percentile(all, 0.99)}
	if errBefore == nil && errAfter == nil && after.cpu >= 0 {
		r["CPU"] = (after.cpu - before.cpu).Seconds() / took.Seconds()
	}
	if !math.IsNaN(memory) {
		r["greatest RSS"] = memory
	}
	return r, nil
}

// watchMemory is the greatest resident memory until done, NaN if none can be
// read.
func watchMemory(ctx context.Context, c contender, done <-chan struct{}) (float64, error) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	most := math.NaN()
	for {
		if u, err := c.usage(); err == nil && !(float64(u.rss) <= most) {
			most = float64(u.rss)
		}
		select {
		case <-tick.C:
		case <-done:
			return most, nil
		case <-ctx.Done():
			return most, context.Cause(ctx)
		}
	}
}

// follow reads a stream to its end and returns how late each event was, but
// for the first skip ones.
func (c *caller) follow(query string, events, skip int) ([]float64, error) {
	res, err := c.send(query, streamBody)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	delays := make([]float64, 0, events)
	lines := bufio.NewScanner(res.Body)
	stamp := []byte(`"text_delta","text":"`)
	seen, ended := 0, false
	for lines.Scan() {
		now := time.Now()
		_, text, ok := bytes.Cut(lines.Bytes(), stamp)
		if !ok {
			ended = ended || strings.HasPrefix(lines.Text(), `data: {"type":"message_stop"`)
			continue
		}
		due, _, _ := bytes.Cut(text, []byte(" "))
		at, err := strconv.ParseInt(string(due), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read event: %w", err)
		}
		if seen++; seen > skip {
			delays = append(delays, now.Sub(time.Unix(0, at)).Seconds())
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read stream: %w", err)
	}
	if seen != events || !ended {
		return nil, fmt.Errorf("read stream: %d of %d events came: %w", seen, events, io.ErrUnexpectedEOF)
	}
	return delays, nil
}
