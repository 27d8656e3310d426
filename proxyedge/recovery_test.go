package proxyedge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// flapper is a daemon in memory that is in one state after another, at an
// exact time. The states are those of the chaos.
type flapper struct {
	serving sync.WaitGroup

	mu      sync.Mutex
	state   int
	died    chan struct{} // closed when the process of the last state has ended
	resumed chan struct{} // closed when it goes on, after it was hung
}

const probeCost = 30 * time.Millisecond

func (f *flapper) now() (state int, died, resumed chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state, f.died, f.resumed
}

// set replaces the process by one in another state, or, if resume, makes it go
// on in that state.
func (f *flapper) set(state int, resume bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = state
	if resume {
		close(f.resumed)
		f.resumed = make(chan struct{})
	} else {
		close(f.died)
		f.died = make(chan struct{})
	}
}

// probe knows half: it finds a process that is gone or hung, and no other.
func (f *flapper) probe(ctx context.Context, _ Daemon) error {
	state, died, resumed := f.now()
	cost := time.After(probeCost)
	switch state {
	case killed:
		return syscall.ECONNREFUSED
	case hung:
		cost = nil
	}
	select {
	case <-cost:
	case <-resumed:
	case <-died:
		return syscall.ECONNRESET
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (f *flapper) dial(context.Context, string) (net.Conn, error) {
	state, died, resumed := f.now()
	if state == killed {
		return nil, syscall.ECONNREFUSED
	}
	ours, theirs := net.Pipe()
	f.serving.Go(func() {
		defer theirs.Close()
		over := make(chan struct{})
		defer close(over)
		f.serving.Go(func() { // the process's end is the connection's
			select {
			case <-died:
				theirs.Close()
			case <-over:
			}
		})
		if state == hung {
			select {
			case <-resumed:
				state = healthy
			case <-died:
				return
			}
		}
		f.serve(state, theirs)
	})
	return ours, nil
}

func (f *flapper) serve(state int, conn net.Conn) {
	switch state {
	case garbled:
		io.WriteString(conn, "\x00\xff garbage\r\n\r\n")
	case stranged:
		readHead(conn, 1<<16)
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		io.Copy(io.Discard, conn)
	case mute:
		proven(silent)(conn)
	case dying:
		proven(func(c net.Conn) { c.Read(make([]byte, 1)) })(conn)
	case slow:
		time.Sleep(900 * time.Millisecond)
		fallthrough
	default:
		proven(func(c net.Conn) { shout(c, Chain{}) })(conn)
	}
}

// visit is what one client has seen.
type visit struct {
	began, took time.Duration // from the beginning of the run, and until its first byte
	metered     bool
	err         error
}

// flap runs a daemon through states, each for a time, while clients come, and
// returns what they saw and how often each reached the origin.
func flap(t *testing.T, states []phase, arrivals []time.Duration) (visits []visit, atOrigin []int, s Status) {
	f := &flapper{state: states[0].state, died: make(chan struct{}), resumed: make(chan struct{})}
	begin := time.Now()
	visits, atOrigin = make([]visit, len(arrivals)), make([]int, len(arrivals))
	var mu sync.Mutex
	e := &Edge{
		Metered: func(host string, _ int) bool { return host == metered },
		Daemon:  func() (Daemon, error) { return here, nil },
		Key:     func() []byte { return testKey },
		Probe:   f.probe, dialDaemon: f.dial,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			f.serving.Go(func() {
				defer theirs.Close()
				hello := make([]byte, 5)
				if _, err := io.ReadFull(theirs, hello); err != nil {
					return
				}
				var n int
				fmt.Sscanf(string(hello), "\x16%04d", &n)
				mu.Lock()
				atOrigin[n]++
				mu.Unlock()
				theirs.Write(hello)
				io.Copy(io.Discard, theirs)
			})
			return ours, nil
		},
	}
	e.init()
	ctx, cancel := context.WithCancel(t.Context())
	w := e.newWeb()
	var clients sync.WaitGroup
	for i, at := range arrivals {
		clients.Go(func() {
			time.Sleep(at)
			client, theirs := net.Pipe()
			defer client.Close()
			f.serving.Go(func() { e.serveConn(ctx, theirs, w, &f.serving) })
			v := visit{began: time.Since(begin)}
			first := make([]byte, len(established)+1)
			hello := fmt.Sprintf("\x16%04d", i)
			_, v.err = io.WriteString(client, connectHead)
			if v.err == nil {
				_, v.err = io.ReadFull(client, first[:len(established)])
			}
			if v.err == nil {
				_, v.err = io.WriteString(client, hello)
			}
			if v.err == nil {
				_, v.err = io.ReadFull(client, first[len(established):])
			}
			if v.err == nil && !strings.HasPrefix(string(first), established) {
				v.err = fmt.Errorf("answer %q", first)
			}
			v.took, v.metered = time.Since(begin)-v.began, first[len(established)] == '<'
			visits[i] = v
		})
	}
	for _, p := range states {
		if p.until != states[0].until {
			f.set(p.state, p.resume)
		}
		time.Sleep(p.until - time.Since(begin))
	}
	clients.Wait()
	f.set(killed, false)
	cancel()
	f.serving.Wait()
	return visits, atOrigin, e.Status()
}

// phase is a state of the daemon until a time from the beginning of the run.
type phase struct {
	state  int
	until  time.Duration
	resume bool
}

// Whatever the daemon goes through, no client sees an error or waits longer
// than the bounds allow, and none reaches the origin twice. From one unhealthy
// verdict and one probe after each recovery on, every client is metered.
func TestRecovery(t *testing.T) {
	const (
		verdict = 200 * time.Millisecond               // the UnhealthyTTL
		longest = 250*time.Millisecond + 2*time.Second // probe, proof and commit
	)
	rapid.Check(t, func(rt *rapid.T) {
		var phases []phase
		var end time.Duration
		before := -1
		for range rapid.IntRange(1, 8).Draw(rt, "phases") {
			p := phase{state: rapid.IntRange(0, states-1).Draw(rt, "state")}
			end += time.Duration(rapid.IntRange(1, 3000).Draw(rt, "ms")) * time.Millisecond
			p.until = end
			p.resume = before == hung && p.state == healthy && rapid.Bool().Draw(rt, "resumed")
			phases, before = append(phases, p), p.state
		}
		// And in the end it is well.
		phases = append(phases, phase{state: healthy, until: end + time.Second})
		var arrivals []time.Duration
		for at := time.Duration(0); at < end+time.Second; {
			arrivals = append(arrivals, at)
			at += time.Duration(rapid.IntRange(1, 100).Draw(rt, "pause")) * time.Millisecond
		}
		var visits []visit
		var atOrigin []int
		var s Status
		synctest.Test(t, func(t *testing.T) { visits, atOrigin, s = flap(t, phases, arrivals) })

		var wrong []error
		for i, v := range visits {
			if v.err != nil || v.took > longest {
				wrong = append(wrong, fmt.Errorf("client %d at %v: %w after %v", i, v.began, v.err, v.took))
			}
			if once := atOrigin[i] == 1; atOrigin[i] > 1 || once == v.metered {
				wrong = append(wrong, fmt.Errorf("client %d reached the origin %d times, metered %t", i, atOrigin[i], v.metered))
			}
			from := time.Duration(0)
			for j, p := range phases {
				if p.state == healthy && j > 0 && v.began >= from+verdict && v.began+probeCost < p.until && !v.metered {
					wrong = append(wrong, fmt.Errorf("client %d came %v after the recovery and was not metered", i, v.began-from))
				}
				from = p.until
			}
		}
		if s.Failed != 0 {
			wrong = append(wrong, fmt.Errorf("counted %+v", s))
		}
		if err := errors.Join(wrong...); err != nil {
			rt.Fatal(err)
		}
	})
}
