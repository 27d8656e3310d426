package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/portalloc"
)

const (
	// healthPoll is how often /health is asked at most.
	healthPoll = 500 * time.Millisecond
	// recordPoll is how often the daemon's record is looked at, which is
	// cheap, so that a daemon that is ready is noticed at once.
	recordPoll = 20 * time.Millisecond
)

// waitHealthy waits until the daemon that was kicked has told its ports and
// answers /health with 200. A daemon that has ended is not waited for: nothing
// starts it again.
func (s *starting) waitHealthy(ctx context.Context, kicked time.Time) (string, error) {
	s.waiting("waiting for the daemon")
	ctx, cancel := context.WithDeadline(ctx, kicked.Add(s.budget))
	defer cancel()
	asked := kicked
	last := errors.New("it has not told its ports")
	var told portalloc.Record
	for {
		rec, live := s.ports()
		switch due := time.Since(asked) >= healthPoll; {
		case live && (due || rec.PID != told.PID):
			told, asked = rec, time.Now()
			if last = healthy(ctx, rec.Ports["api"]); last == nil {
				return net.JoinHostPort("127.0.0.1", strconv.Itoa(rec.Ports["api"])), nil
			}
		case !live && due:
			asked = time.Now()
			if ended := s.daemonEnded(ctx); ended != "" {
				return "", s.failedWith("daemon healthy", fmt.Errorf("the daemon %s: %s", ended, s.lastWords(kicked)),
					"mend that, then halton-meter start")
			}
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return "", context.Cause(ctx)
			}
			return "", s.failedWith("daemon healthy", fmt.Errorf("the daemon runs and is not healthy after %s: %w", s.budget, last),
				"halton-meter stop && halton-meter start; the daemon's log is "+s.paths.Log(agents.Daemon, "err"))
		case <-time.After(recordPoll):
		}
	}
}

// daemonEnded says how the daemon ended, "" while it runs or is being started.
func (s *starting) daemonEnded(ctx context.Context) string {
	svc, err := s.supervisor.Print(ctx, s.supervisor.Target(agents.Daemon))
	if err != nil || svc.PID != 0 || svc.State != "not running" {
		return ""
	}
	return howItEnded(svc)
}

// lastWords is why the daemon that was kicked says it failed, from its log.
func (s *starting) lastWords(kicked time.Time) string {
	path := s.paths.Log(agents.Daemon, "err")
	lines := bytes.Split(tail(path, 16<<10), []byte("\n"))
	for _, last := range slices.Backward(lines) {
		var line struct {
			Time   time.Time
			Event  string
			Error  string
			Reason string
		}
		if json.Unmarshal(last, &line) != nil {
			continue
		}
		// The log's times are cut to less than the kick's.
		if line.Time.Before(kicked.Add(-time.Second)) {
			break
		}
		switch line.Event {
		case "daemon.failed":
			return line.Error
		case "daemon.stays_down":
			return "it stays down after " + line.Reason
		}
	}
	return "it left no word; see " + path
}
