package capture

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestUpstreamResumption: a new connection to a provider resumes the session
// of an earlier one.
func TestUpstreamResumption(t *testing.T) {
	each(t, func(t *testing.T, major int) {
		resumed := make(chan bool, 2)
		r := newRig(t, func(_ http.ResponseWriter, req *http.Request) {
			if req.ProtoMajor != major {
				t.Errorf("HTTP/%d", req.ProtoMajor)
			}
			resumed <- req.TLS.DidResume
		})
		c := r.client(t, major)
		for _, want := range []bool{false, true} {
			do(t, c, newRequest(t, "GET", "/v1/models", nil))
			if got := <-resumed; got != want {
				t.Errorf("resumed: %v, want %v", got, want)
			}
			r.upstream.closeIdle()
		}
	})
}

// holeConn is a connection to a machine that is gone without a word: what is
// written is lost, and nothing comes.
type holeConn struct {
	net.Conn
	gone *atomic.Bool
}

func (c holeConn) Write(p []byte) (int, error) {
	if c.gone.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// TestSilentProvider: a connection that died in its sleep is found out by
// HTTP/2's pings, and the next request goes over a new one.
func TestSilentProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := newTestRoot(t)
		conns := newQueue()
		provider := &http.Server{
			Handler:   http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { io.WriteString(w, "hello") }),
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{root.issue(t, leafSpec{host: testHost})}, NextProtos: []string{"h2"}},
			ErrorLog:  log.New(io.Discard, "", 0),
		}
		var serving sync.WaitGroup
		serving.Go(func() { provider.ServeTLS(conns, "", "") })

		var dials int
		gone := new(atomic.Bool)
		u := newUpstream(func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go conns.put(theirs)
			dials++
			if dials > 1 {
				return ours, nil
			}
			return holeConn{ours, gone}, nil
		}, root.pool)
		get := func() error {
			req, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+testHost+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.ProtoMajor = 2
			res, err := u.RoundTrip(req)
			if err != nil {
				return err
			}
			defer res.Body.Close()
			_, err = io.ReadAll(res.Body)
			return err
		}
		if err := get(); err != nil {
			t.Fatal(err)
		}
		gone.Store(true)
		begin := time.Now()
		if err := get(); err == nil {
			t.Error("an answer from nowhere")
		}
		if took := time.Since(begin); took != 45*time.Second {
			t.Errorf("given up after %v", took)
		}
		if err := get(); err != nil || dials != 2 {
			t.Errorf("%v over connection %d", err, dials)
		}
		u.closeIdle()
		provider.Close()
		serving.Wait()
	})
}
