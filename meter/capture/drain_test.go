package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haltonlabs/halton-meter/meter/tap"
)

// TestDrain: a stream in flight ends in the ordinary way, requests that come
// meanwhile are answered, and then every connection is closed.
func TestDrain(t *testing.T) {
	each(t, func(t *testing.T, major int) {
		finish := make(chan struct{})
		r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
			io.WriteString(w, "begin ")
			http.NewResponseController(w).Flush()
			if req.URL.Path == metered {
				<-finish
			}
			io.WriteString(w, "end")
		})
		c := r.client(t, major)
		stream, err := c.Do(newRequest(t, "POST", metered, strings.NewReader("{}")))
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Body.Close()

		drained := make(chan error, 1)
		go func() { drained <- r.Shutdown(t.Context()) }()
		for !r.drain.isDraining() {
			time.Sleep(time.Millisecond) // Shutdown has no event for its beginning
		}
		if err := r.Admit(testChain); err == nil || err.Error() != "draining" {
			t.Errorf("Admit: %v", err)
		}
		// On a connection of its own in HTTP/1.1, on the same one in HTTP/2.
		res, body := do(t, c, newRequest(t, "GET", "/v1/models", nil))
		if string(body) != "begin end" || major == 1 && !res.Close {
			t.Errorf("during the drain: %q, close %v", body, res.Close)
		}
		select {
		case err := <-drained:
			t.Fatalf("drained with a stream in flight: %v", err)
		default:
		}
		close(finish)
		if body, err := io.ReadAll(stream.Body); string(body) != "begin end" || err != nil {
			t.Errorf("the stream: %q, %v", body, err)
		}
		r.record(t, tap.Completed)
		if major == 2 {
			c.CloseIdleConnections() // or it takes a pause: see TestGoodbye
		}
		if err := <-drained; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if ok, _ := r.drain.empty(); !ok {
			t.Error("tunnels are left")
		}
		if res, err := c.Do(newRequest(t, "GET", "/v1/models", nil)); err == nil {
			res.Body.Close()
			t.Error("served after Shutdown")
		}
	})
}

// TestDrainNextRequest: the request that follows on the connection of an
// answer which began before the drain is answered too.
func TestDrainNextRequest(t *testing.T) {
	finish := make(chan struct{}, 1)
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		http.NewResponseController(w).Flush()
		<-finish
		io.WriteString(w, req.RemoteAddr)
	})
	c := r.client(t, 1)
	res, err := c.Do(newRequest(t, "GET", "/v1/models", nil))
	if err != nil {
		t.Fatal(err)
	}
	drained := make(chan error, 1)
	go func() { drained <- r.Shutdown(t.Context()) }()
	for !r.drain.isDraining() {
		time.Sleep(time.Millisecond)
	}
	finish <- struct{}{}
	if _, err := io.ReadAll(res.Body); err != nil || res.Close {
		t.Errorf("first answer: %v, close %v", err, res.Close)
	}
	res.Body.Close()
	finish <- struct{}{}
	if res, _ := do(t, c, newRequest(t, "POST", "/v1/models", strings.NewReader("{}"))); !res.Close {
		t.Error("the second answer does not close its connection")
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if n := r.Counters().Intercepted; n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestDrainCut: what is not done when the time is over is cut.
func TestDrainCut(t *testing.T) {
	each(t, func(t *testing.T, major int) {
		begun := make(chan struct{})
		r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
			io.Copy(io.Discard, req.Body)
			close(begun)
			<-req.Context().Done()
		})
		failed := make(chan error, 1)
		c := r.client(t, major)
		go func() {
			req, _ := http.NewRequest("POST", "https://"+testHost+metered, strings.NewReader("{}"))
			_, err := c.Do(req)
			failed <- err
		}()
		<-begun
		ctx, cancel := context.WithCancelCause(t.Context())
		late := errors.New("too late")
		cancel(late)
		if err := r.Shutdown(ctx); !errors.Is(err, late) {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-failed; err == nil {
			t.Error("the client got an answer")
		}
		r.record(t, tap.ClientAborted)
		if err := r.Shutdown(t.Context()); err != nil {
			t.Errorf("second Shutdown: %v", err)
		}
	})
}

// TestDrainTimes pins when the idle connections are given up.
func TestDrainTimes(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(d *drain)
		want    time.Duration
		ok      bool
	}{
		{"no tunnel", func(d *drain) {}, 0, true},
		{"idle for long", func(d *drain) {
			d.add(&tunnel{})
			d.begin()
			d.end()
			time.Sleep(time.Hour)
		}, 0, true},
		{"just answered", func(d *drain) {
			d.add(&tunnel{})
			d.begin()
			d.end()
		}, quiet, true},
		{"never used", func(d *drain) { d.add(&tunnel{}) }, quiet, true},
		{"answered in between", func(d *drain) {
			d.add(&tunnel{})
			d.begin()
			time.AfterFunc(5*time.Second, d.end)
		}, 5*time.Second + quiet, true},
		{"and again", func(d *drain) {
			d.add(&tunnel{})
			d.begin()
			d.end()
			time.AfterFunc(quiet/2, d.begin)
			time.AfterFunc(quiet*2, d.end)
		}, quiet*2 + quiet, true},
		{"closed by the client", func(d *drain) {
			c := &tunnel{}
			d.add(c)
			d.begin()
			time.AfterFunc(time.Second/2, func() { d.end(); d.remove(c) })
		}, time.Second / 2, true},
		{"too long", func(d *drain) {
			d.add(&tunnel{})
			d.begin()
		}, time.Minute, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d drain
				tt.prepare(&d)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				begin := time.Now()
				d.start(ctx)
				ok := d.await(ctx, d.settled)
				if took := time.Since(begin); took != tt.want || ok != tt.ok {
					t.Errorf("%v after %v, want %v after %v", ok, took, tt.ok, tt.want)
				}
			})
		})
	}
}

func TestShutdownUnused(t *testing.T) {
	i := &Interceptor{Authority: newTestAuthority(t)}
	if err := i.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	ours, theirs := tcpPair(t)
	i.Handle(t.Context(), theirs, testChain)
	if got, err := io.ReadAll(ours); len(got) > 0 || err != nil {
		t.Errorf("after Shutdown: %q, %v", got, err)
	}
	if got := fmt.Sprint(i.Counters().Tunneled); got != "map[]" {
		t.Errorf("counted %s", got)
	}
}
