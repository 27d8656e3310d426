package capture

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haltonlabs/halton-meter/meter/tap"
)

// The frames of RFC 9113, section 6, that these tests look at.
const (
	frameData           = 0x0
	frameHeaders        = 0x1
	frameReset          = 0x3
	frameSettings       = 0x4
	frameGoAway         = 0x7
	flagEndStream       = 0x1
	flagEndHeaders      = 0x4
	frameHeader         = 9
	frameEnd       byte = 0xff // not of the RFC: the connection's
)

// wire is a client's end of an HTTP/2 connection, frame by frame.
type wire struct {
	t      *testing.T
	conn   net.Conn
	next   uint32
	frames chan frame
}

type frame struct {
	kind, flags byte
	stream      uint32
	payload     []byte
	at          time.Time
}

// dialWire opens a connection to an Interceptor whose provider is h, all of it
// in memory. The provider speaks HTTP/2 if major is 2.
func dialWire(t *testing.T, major int, h http.HandlerFunc) (*Interceptor, *wire) {
	t.Helper()
	authority, err := createAuthority(t.TempDir()) // one of another bubble is of no use
	if err != nil {
		t.Fatal(err)
	}
	root := newTestRoot(t)
	i := &Interceptor{
		Authority: authority,
		Tap:       &tap.Tap{Done: func(tap.Record) {}},
		RootCAs:   root.pool,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			config := &tls.Config{Certificates: []tls.Certificate{root.issue(t, leafSpec{host: testHost})}}
			if major == 2 {
				config.NextProtos = []string{"h2"}
			}
			new(http.Server{Handler: h}).Serve(&single{tls.Server(theirs, config)})
			return ours, nil
		},
	}
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		i.Handle(t.Context(), theirs, testChain)
	}()
	t.Cleanup(func() {
		ours.Close()
		<-done
		if err := i.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := i.Tap.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	secure := tls.Client(ours, &tls.Config{InsecureSkipVerify: true, ServerName: testHost, NextProtos: []string{"h2"}})
	w := &wire{t: t, conn: secure, next: 1, frames: make(chan frame, 1000)}
	if err := secure.Handshake(); err != nil {
		t.Fatal(err)
	}
	go w.read()
	io.WriteString(secure, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	w.send(frameSettings, 0, 0, "")
	return i, w
}

func (w *wire) send(kind, flags byte, stream uint32, payload string) {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	b = binary.BigEndian.AppendUint32(append(b, flags), stream)
	w.conn.Write(append(b, payload...)) // what fails shows in the answers
}

// get begins a request, and returns its stream. The header block is of RFC
// 7541, with nothing compressed.
func (w *wire) get(path string) uint32 {
	stream := w.next
	w.next += 2
	w.send(frameHeaders, flagEndStream|flagEndHeaders, stream,
		"\x82\x87\x04"+string(rune(len(path)))+path+"\x01"+string(rune(len(testHost)))+testHost)
	return stream
}

// read keeps what is of interest.
func (w *wire) read() {
	defer close(w.frames)
	for {
		head := make([]byte, frameHeader)
		if _, err := io.ReadFull(w.conn, head); err != nil {
			w.frames <- frame{kind: frameEnd, at: time.Now()}
			return
		}
		f := frame{kind: head[3], flags: head[4], stream: binary.BigEndian.Uint32(head[5:]), at: time.Now()}
		f.payload = make([]byte, binary.BigEndian.Uint32(head)>>8)
		if _, err := io.ReadFull(w.conn, f.payload); err != nil {
			w.t.Errorf("half a frame: %v", err)
		}
		switch {
		case f.kind == frameGoAway, f.kind == frameReset, f.kind <= frameHeaders && f.flags&flagEndStream != 0:
			w.frames <- f
		}
	}
}

// tell says what became of a stream or the connection, and when after begin.
func (f frame) tell(begin time.Time) string {
	at := f.at.Sub(begin)
	switch f.kind {
	case frameEnd:
		return fmt.Sprintf("%v end", at)
	case frameGoAway:
		return fmt.Sprintf("%v goaway %d %d", at, binary.BigEndian.Uint32(f.payload), binary.BigEndian.Uint32(f.payload[4:]))
	case frameReset:
		return fmt.Sprintf("%v reset %d", at, f.stream)
	}
	return fmt.Sprintf("%v ended %d", at, f.stream)
}

// slow answers /1s after a second, and so on.
func slow(w http.ResponseWriter, req *http.Request) {
	http.NewResponseController(w).Flush()
	d, _ := time.ParseDuration(req.URL.Path[1:])
	select {
	case <-time.After(d):
		io.WriteString(w, "end")
	case <-req.Context().Done():
	}
}

// TestGoodbye pins when an HTTP/2 client is told in a drain, which begins at 0:
// httpx fails streams that are open then, or that it begins too soon afterwards.
func TestGoodbye(t *testing.T) {
	tests := []struct {
		name   string
		time   time.Duration // for the drain
		before func(w *wire)
		during func(w *wire, ended <-chan uint32)
		want   string
	}{
		{name: "idle for long", time: 50 * time.Second, before: func(w *wire) {
			w.get("/1s")
			time.Sleep(7 * time.Second)
		}, want: "-6s ended 1, 0s goaway 1 0, 100ms end"},
		{name: "never used", time: 50 * time.Second, before: func(*wire) {
			time.Sleep(time.Second)
		}, want: "5s goaway 0 0, 5.1s end"},
		{name: "just answered", time: 50 * time.Second, before: func(w *wire) {
			w.get("/1s")
			time.Sleep(3 * time.Second)
		}, want: "-2s ended 1, 4s goaway 1 0, 4.1s end"},
		{name: "in flight", time: 50 * time.Second, before: func(w *wire) {
			w.get("/10s")
			w.get("/20s")
			time.Sleep(3 * time.Second)
		}, want: "7s ended 1, 17s ended 3, 23s goaway 3 0, 23.1s end"},
		{name: "taken up again", time: 50 * time.Second, before: func(w *wire) {
			w.get("/2s")
			time.Sleep(time.Second)
		}, during: func(w *wire, ended <-chan uint32) {
			<-ended
			time.Sleep(5 * time.Second)
			w.get("/3s")
		}, want: "1s ended 1, 9s ended 3, 15s goaway 3 0, 15.1s end"},
		{name: "without a pause", time: time.Hour, before: func(w *wire) {
			w.get("/1s")
		}, during: func(w *wire, ended <-chan uint32) {
			for range ended {
				if w.next < 100 {
					time.Sleep(time.Millisecond)
					w.get("/0s")
				}
			}
		}, want: "1s ended 1, 1.001s ended 3, 1.002s ended 5, 1.003s ended 7, 1.004s ended 9, 1.005s ended 11, " +
			"1.006s ended 13, 1.007s ended 15, 1.008s ended 17, 1.009s ended 19, 1.009s goaway 19 0, 1.109s end"},
		{name: "short pauses, past the half", time: 40 * time.Second, before: func(w *wire) {
			w.get("/9s")
		}, during: func(w *wire, ended <-chan uint32) {
			for range ended {
				time.Sleep(time.Second)
				w.get("/7s")
			}
		}, want: "9s ended 1, 17s ended 3, 25s ended 5, 25s goaway 5 0, 25.1s end"},
		{name: "never without a stream", time: 40 * time.Second, before: func(w *wire) {
			w.get("/5s")
		}, during: func(w *wire, ended <-chan uint32) {
			w.get("/9s")
			for range ended {
				w.get("/8s")
			}
		}, want: "5s ended 1, 9s ended 3, 13s ended 5, 17s ended 7, 21s ended 9, 25s ended 11, 29s ended 13, " +
			"30s goaway 17 0, 33s ended 15, 37s ended 17, 37.1s end"},
		{name: "too long", time: 20 * time.Second, before: func(w *wire) {
			w.get("/30s")
		}, want: "20s end"},
		{name: "idle, and little time", time: 5 * time.Second, before: func(w *wire) {
			w.get("/1s")
			time.Sleep(time.Second)
		}, want: "0s ended 1, 3s goaway 1 0, 3.1s end"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i, w := dialWire(t, 2, slow)
				tt.before(w)
				synctest.Wait()
				begin := time.Now()
				drained := make(chan error, 1)
				go func() {
					ctx, cancel := context.WithTimeout(t.Context(), tt.time)
					defer cancel()
					drained <- i.Shutdown(ctx)
				}()
				ended := make(chan uint32, 100)
				var during sync.WaitGroup
				if tt.during != nil {
					during.Go(func() { tt.during(w, ended) })
				}
				var got []string
				for f := range w.frames {
					got = append(got, f.tell(begin))
					if f.kind == frameData {
						ended <- f.stream
					}
				}
				close(ended)
				w.conn.Close()
				during.Wait()
				if got := strings.Join(got, ", "); got != tt.want {
					t.Errorf("got  %s\nwant %s", got, tt.want)
				}
				if err := <-drained; (err != nil) != (tt.name == "too long") {
					t.Errorf("Shutdown: %v", err)
				}
			})
		})
	}
}

// TestGoodbyeOutsideOfADrain: what ends a connection for the sake of one stream
// leaves the other streams alone, and does not say so before their end.
func TestGoodbyeOutsideOfADrain(t *testing.T) {
	tests := []struct {
		name   string
		major  int // of the provider's HTTP
		answer func(w http.ResponseWriter)
		want   string
	}{
		{"the provider has enough of its own connection", 1, func(w http.ResponseWriter) {
			w.Header().Set("Connection", "close")
		}, "0s ended 3, 9s ended 1"},
		{"a challenge", 2, func(w http.ResponseWriter) {
			w.Header().Set("Cf-Mitigated", "challenge")
			w.WriteHeader(http.StatusForbidden)
		}, "0s ended 3, 9s ended 1, 9s goaway 3 0, 10s end"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i, w := dialWire(t, tt.major, func(w http.ResponseWriter, req *http.Request) {
					if req.URL.Path == "/enough" {
						tt.answer(w)
						io.WriteString(w, "end")
						return
					}
					slow(w, req)
				})
				begin := time.Now()
				w.get("/9s")
				synctest.Wait()
				w.get("/enough")
				time.Sleep(time.Minute)
				var got []string
				for len(w.frames) > 0 {
					f := <-w.frames
					got = append(got, f.tell(begin))
				}
				if got := strings.Join(got, ", "); got != tt.want {
					t.Errorf("got  %s\nwant %s", got, tt.want)
				}
				w.conn.Close()
				i.drain.await(t.Context(), i.drain.empty)
			})
		})
	}
}
