package capture

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/haltonlabs/halton-meter/meter/tap"
)

// deadConn is a connection that can die as in a sleep of the machine: nothing
// more comes in, and what is written is refused.
type deadConn struct {
	net.Conn
	dead *atomic.Bool
}

func (c deadConn) Write(p []byte) (int, error) {
	if c.dead.Load() {
		return 0, syscall.EPIPE
	}
	return c.Conn.Write(p)
}

// TestDeadPooledConnection: a POST for which a dead connection was chosen goes
// over a new one, whole and once, if nothing of it could be written.
func TestDeadPooledConnection(t *testing.T) {
	bodies := map[string]string{"small": "body", "large": strings.Repeat("0123456789abcdef", 1<<16)}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			var dials, requests atomic.Int32
			first := new(atomic.Bool)
			r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
				requests.Add(1)
				io.Copy(w, req.Body)
			}, func(r *rig) {
				dial := r.Dial
				r.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
					conn, err := dial(ctx, network, addr)
					if dials.Add(1) == 1 && err == nil {
						return deadConn{conn, first}, nil
					}
					return conn, err
				}
			})
			c := r.client(t, 1)
			for range 2 {
				if _, got := do(t, c, newRequest(t, "POST", metered, strings.NewReader(body))); string(got) != body {
					t.Errorf("got %d bytes", len(got))
				}
				r.record(t, tap.Completed)
				first.Store(true)
			}
			if dials.Load() != 2 || requests.Load() != 2 {
				t.Errorf("%d connections, %d requests; want 2 and 2", dials.Load(), requests.Load())
			}
		})
	}
}

// TestNotSentTwice: a POST that the provider may have seen is not repeated,
// whatever it says about itself.
func TestNotSentTwice(t *testing.T) {
	var requests atomic.Int32
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		if requests.Add(1) > 1 {
			panic(http.ErrAbortHandler) // closes a connection that was reused
		}
	})
	c := r.client(t, 1)
	for _, want := range []tap.Outcome{tap.Completed, tap.UpstreamFailed} {
		// Its own client would repeat it too.
		req := newRequest(t, "POST", metered, struct{ io.Reader }{strings.NewReader("{}")})
		req.Header.Set("Idempotency-Key", "1")
		if res, err := c.Do(req); err == nil {
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		r.record(t, want)
	}
	if n := requests.Load(); n != 2 {
		t.Errorf("%d requests at the provider, want 2", n)
	}
}

func TestUploadAgain(t *testing.T) {
	tests := []struct {
		name string
		read int // before the second attempt
		size int
		want bool
	}{
		{"nothing read", 0, 1 << 20, true},
		{"some read", 1000, 1 << 20, true},
		{"all kept", keepUpload, 1 << 20, true},
		{"too much read", keepUpload + 1, 1 << 20, false},
		{"whole body kept", 1000, 1000, true},
		{"empty", 0, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := bytes.Repeat([]byte("x1"), tt.size/2)
			u := &upload{src: io.NopCloser(iotest.HalfReader(bytes.NewReader(want))), broke: func(err error) { t.Error(err) }}
			var out http.Request
			u.attach(&out)
			if _, err := io.ReadFull(out.Body, make([]byte, tt.read)); err != nil {
				t.Fatal(err)
			}
			out.Body.Close()
			if _, err := out.Body.Read(make([]byte, 1)); err == nil {
				t.Error("a closed attempt reads on")
			}
			body, err := out.GetBody()
			if (err == nil) != tt.want {
				t.Fatalf("GetBody: %v", err)
			}
			if err == nil {
				if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, want) {
					t.Errorf("second attempt: %d bytes, %v", len(got), err)
				}
			}
		})
	}
}

func TestUploadEnds(t *testing.T) {
	u := &upload{src: io.NopCloser(strings.NewReader("body"))}
	var out http.Request
	u.attach(&out)
	if _, err := out.Body.Read(make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	u.respond()
	if _, err := out.GetBody(); !errors.Is(err, errUploadGone) {
		t.Errorf("GetBody after the answer: %v", err)
	}
	if got, err := io.ReadAll(out.Body); string(got) != "dy" || err != nil {
		t.Errorf("the rest: %q, %v", got, err)
	}
	u.finish()
	if _, err := out.Body.Read(make([]byte, 2)); !errors.Is(err, errUploadOver) {
		t.Errorf("Read after the end: %v", err)
	}
}
