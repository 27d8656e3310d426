package capture

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/meter/tap"
	"github.com/haltonlabs/halton-meter/proxyedge"
)

// TestRestarts: clients that go on and on while one daemon after another
// drains see no error: what races with a goodbye is sent elsewhere.
func TestRestarts(t *testing.T) {
	each(t, func(t *testing.T, major int) {
		first := newRig(t, func(w http.ResponseWriter, req *http.Request) {
			body, err := io.ReadAll(req.Body)
			if err == nil {
				w.Write(body)
			}
		})
		var drains sync.WaitGroup
		records := make(chan tap.Record, 100_000)
		newDaemon := func() *Interceptor {
			return &Interceptor{
				Authority: first.Authority, Metered: first.Metered, Lookup: first.Lookup,
				RootCAs: first.RootCAs, Dial: first.Dial,
				Tap: &tap.Tap{Done: func(rec tap.Record) { records <- rec }},
			}
		}
		// The edge: a tunnel goes to the daemon that admits it.
		var current atomic.Pointer[Interceptor]
		current.Store(newDaemon())
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var tunnels sync.WaitGroup
		tunnels.Go(func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				c := proxyedge.Chain{Host: testHost, Port: 443, Client: netip.MustParseAddrPort("127.0.0.1:1")}
				d := current.Load()
				for d.Admit(c) != nil {
					d = current.Load()
				}
				tunnels.Go(func() { d.Handle(t.Context(), conn, c) })
			}
		})
		first.addr = ln.Addr().String()

		var sent atomic.Int64
		stop := make(chan struct{})
		var clients sync.WaitGroup
		want := bytes.Repeat([]byte("x"), 2000)
		for range 4 {
			client := first.client(t, major)
			clients.Go(func() {
				defer client.CloseIdleConnections()
				for {
					select {
					case <-stop:
						return
					default:
					}
					res, err := client.Post("https://"+testHost+metered, "application/json", bytes.NewReader(want))
					if err != nil {
						t.Error(err)
						return
					}
					got, err := io.ReadAll(res.Body)
					res.Body.Close()
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("%d bytes, %v", len(got), err)
						return
					}
					sent.Add(1)
				}
			})
		}
		for range 8 {
			// Until the clients have come over from the one before.
			for deadline := time.Now().Add(time.Minute); current.Load().Counters().Exchanges < 50 && !t.Failed(); {
				if time.Now().After(deadline) {
					t.Error("the clients stay where they are")
				}
				time.Sleep(time.Millisecond) // the clients' own pace is the event
			}
			old := current.Swap(newDaemon())
			drains.Go(func() {
				if err := old.Shutdown(context.Background()); err != nil {
					t.Error(err)
				}
				if err := old.Tap.Close(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}
		close(stop)
		clients.Wait()
		ln.Close()
		last := current.Load()
		if err := last.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		tunnels.Wait()
		drains.Wait()
		if err := last.Tap.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if n := int64(len(records)); n != sent.Load() {
			t.Errorf("%d records of %d exchanges", n, sent.Load())
		}
	})
}
