package proxyedge

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The same chaos for requests to a base URL. One that the daemon has admitted
// may die with it, and is not repeated; every other one is answered, with its
// whole body, once.
func TestChaosOfRequests(t *testing.T) {
	total, workers := 1500, 16
	if testing.Short() {
		total = 300
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var w *webWorld
	w = newWebWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		w.keep(r)
		rw.Write(body)
	}, nil, func(e *Edge) {
		e.HealthyTTL, e.UnhealthyTTL = 20*time.Millisecond, 4*time.Millisecond
		e.ProofTimeout = 60 * time.Millisecond
	})
	c := &chaos{w: w.world}
	probe := c.probe
	w.health.Store(&probe)
	c.set(t, healthy)

	var next, bySite, byDaemon, died atomic.Int64
	var clients sync.WaitGroup
	for range workers {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for {
				n := next.Add(1)
				if n > int64(total) || t.Failed() {
					return
				}
				text := fmt.Sprintf("%08d%s", n, strings.Repeat("x", int(n%3)*40_000))
				res, err := client.Post("http://"+w.addr+"/site/x", "text/plain", strings.NewReader(text))
				var body []byte
				if err == nil {
					body, err = io.ReadAll(res.Body)
					res.Body.Close()
				}
				switch {
				case err != nil:
					died.Add(1)
				case res.StatusCode != 200 || string(body) != text:
					t.Errorf("request %d: %s, %d bytes, want %d", n, res.Status, len(body), len(text))
				case res.Header.Get("Served-By") == "daemon":
					byDaemon.Add(1)
				default:
					bySite.Add(1)
				}
			}
		})
	}
	stop := c.begin(t, seed)
	clients.Wait()
	stop()
	c.stop()

	seen := make(map[string]int)
	for _, r := range w.requests() {
		if seen[r.body]++; seen[r.body] > 1 {
			t.Errorf("the site got request %.8s twice", r.body)
		}
	}
	s := w.wait("the last request", func(s Status) bool { return s.Open == 0 })
	t.Logf("%d by the daemon, %d by the site, %d died; %v", byDaemon.Load(), bySite.Load(), died.Load(), s.Reasons)
	if len(seen) != int(bySite.Load()) || s.Passthrough != uint64(len(seen)) || s.Failed != 0 {
		t.Errorf("the site got %d requests and answered %d, counted %+v", len(seen), bySite.Load(), s)
	}
	if s.Metered != uint64(byDaemon.Load()+died.Load()) {
		t.Errorf("%d were the daemon's, and %d died: counted %+v", byDaemon.Load(), died.Load(), s)
	}
}
