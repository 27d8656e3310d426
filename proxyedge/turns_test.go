package proxyedge

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// crowded opens n clients of e at once, each of which begins with hello
// unless that is empty, and returns how long each waited for its CONNECT and,
// from the start, for what its hello brought.
func crowded(t *testing.T, e *Edge, n int, hello string) (answers, firsts []time.Duration) {
	t.Helper()
	answers, firsts = make([]time.Duration, n), make([]time.Duration, n)
	ctx, cancel := context.WithCancel(t.Context())
	var serving, asking sync.WaitGroup
	start := time.Now()
	for i := range n {
		client, theirs := net.Pipe()
		serving.Go(func() { e.serveConn(ctx, theirs, e.newWeb(), &serving) })
		t.Cleanup(func() { client.Close() })
		asking.Go(func() {
			exchange(t, client, connectHead, established)
			answers[i] = time.Since(start)
			if hello == "" {
				return // a pipe passes on even the write of nothing
			}
			exchange(t, client, hello, hello)
			firsts[i] = time.Since(start)
		})
	}
	t.Cleanup(func() { cancel(); serving.Wait() })
	asking.Wait()
	return answers, firsts
}

func count(all []time.Duration, d time.Duration) (n int) {
	for _, x := range all {
		if x == d {
			n++
		}
	}
	return n
}

// A burst waits at the edge, where no clock of the daemon's runs.
func TestBurstTakesTurns(t *testing.T) {
	const ms = time.Millisecond
	const n = 3 * maxTurns
	echoAfter := func(d time.Duration) func(net.Conn) {
		return proven(func(c net.Conn) {
			var first [1]byte
			if _, err := io.ReadFull(c, first[:]); err != nil {
				return
			}
			time.Sleep(d)
			c.Write(first[:])
			io.Copy(c, c)
		})
	}
	tests := []struct {
		name   string
		daemon func(net.Conn)
		n      int
		// How many waited for their answer, and from the start for their
		// first byte, for how long.
		answers, firsts map[time.Duration]int
		lost            uint64
	}{
		{
			"busy daemon", echoAfter(300 * ms), n,
			map[time.Duration]int{0: maxTurns, 300 * ms: maxTurns, 600 * ms: maxTurns},
			map[time.Duration]int{300 * ms: maxTurns, 600 * ms: maxTurns, 900 * ms: maxTurns},
			0,
		},
		{
			"the wait has a bound", echoAfter(900 * ms), 4 * maxTurns,
			map[time.Duration]int{0: maxTurns, 900 * ms: maxTurns, 1800 * ms: maxTurns, turnWait: maxTurns},
			map[time.Duration]int{turnWait + 900*ms: maxTurns},
			0,
		},
		{
			"proves, then hangs", proven(silent), n,
			map[time.Duration]int{0: maxTurns, time.Second: n - maxTurns},
			map[time.Duration]int{time.Second: n},
			n,
		},
		{
			"hangs", silent, n,
			map[time.Duration]int{time.Second: n},
			map[time.Duration]int{time.Second: n},
			n,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first, e := piped(t, test.daemon, nil)
				first.Close()
				synctest.Wait()
				answers, firsts := crowded(t, e, test.n, "\x16")
				for d, want := range test.answers {
					if got := count(answers, d); got != want {
						t.Errorf("%d were answered after %v, want %d: %v", got, d, want, answers)
					}
				}
				for d, want := range test.firsts {
					if got := count(firsts, d); got != want {
						t.Errorf("%d had their first byte after %v, want %d: %v", got, d, want, firsts)
					}
				}
				synctest.Wait()
				if s := e.Status(); s.Lost != test.lost || s.Metered != uint64(test.n)-test.lost {
					t.Errorf("counted %+v, want %d losses of %d", s, test.lost, test.n)
				}
			})
		})
	}
}

// Clients that connect ahead of their need do not keep others waiting.
func TestSilentClientsLoseTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, e := piped(t, proven(func(c net.Conn) { io.Copy(c, c) }), nil)
		first.Close()
		answers, _ := crowded(t, e, maxTurns, "")
		if n := count(answers, 0); n != maxTurns {
			t.Fatalf("%d silent clients were answered at once, want %d", n, maxTurns)
		}
		answers, _ = crowded(t, e, 1, "\x16hello")
		if answers[0] != idleTurn {
			t.Errorf("the next client waited %v, want %v", answers[0], idleTurn)
		}
		synctest.Wait()
		if len(e.turns) != 0 {
			t.Errorf("%d turns are held, want none", len(e.turns))
		}
	})
}
