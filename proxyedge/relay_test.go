package proxyedge

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// paths are the two ways that a tunnel can take. peer is the far end, from
// behind the client's first byte on.
func paths(t *testing.T, serve func(net.Conn), test func(t *testing.T, w *world)) {
	peer := func(conn net.Conn) {
		io.ReadFull(conn, make([]byte, 1))
		serve(conn)
	}
	t.Run("direct", func(t *testing.T) {
		w := newWorld(t, "", nil)
		w.origin.addr = stranger(t, peer)
		test(t, w)
	})
	t.Run("chained", func(t *testing.T) {
		daemon, _ := receive(t, nil, func(conn net.Conn, _ Chain) { peer(conn) })
		test(t, newWorld(t, daemon, nil))
	})
}

func TestHalfClose(t *testing.T) {
	t.Run("by the client", func(t *testing.T) {
		paths(t, func(conn net.Conn) {
			conn.Write([]byte("<"))
			b, _ := io.ReadAll(conn)
			conn.Write(append([]byte("you said "), b...))
		}, func(t *testing.T, w *world) {
			c := w.connect("")
			c.send("\x16hello")
			c.expect("<")
			c.CloseWrite()
			if b, err := io.ReadAll(c.r); err != nil || string(b) != "you said hello" {
				t.Errorf("read %q (%v)", b, err)
			}
			w.wait("the end", func(s Status) bool { return s.Open == 0 })
		})
	})
	t.Run("by the peer", func(t *testing.T) {
		heard := make(chan string, 1)
		paths(t, func(conn net.Conn) {
			conn.Write([]byte("that is all"))
			conn.(*net.TCPConn).CloseWrite()
			b, _ := io.ReadAll(conn)
			heard <- string(b)
		}, func(t *testing.T, w *world) {
			c := w.connect("\x16")
			if b, err := io.ReadAll(c.r); err != nil || string(b) != "that is all" {
				t.Errorf("read %q (%v)", b, err)
			}
			c.send("one more thing")
			c.CloseWrite()
			if got := <-heard; got != "one more thing" {
				t.Errorf("peer heard %q", got)
			}
		})
	})
}

func TestResetIsPassedOn(t *testing.T) {
	t.Run("by the peer", func(t *testing.T) {
		paths(t, func(conn net.Conn) {
			conn.Write([]byte("<"))
			io.ReadFull(conn, make([]byte, 4))
			reset(conn)
		}, func(t *testing.T, w *world) {
			c := w.connect("")
			c.send("\x16")
			c.expect("<")
			c.send("more")
			if _, err := c.r.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("read: %v, want a reset", err)
			}
		})
	})
	t.Run("by the client", func(t *testing.T) {
		ends := make(chan error, 1)
		paths(t, func(conn net.Conn) {
			conn.Write([]byte("<"))
			_, err := io.ReadAll(conn)
			ends <- err
		}, func(t *testing.T, w *world) {
			c := w.connect("\x16")
			c.expect("<")
			reset(c.TCPConn)
			if err := <-ends; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("peer read: %v, want a reset", err)
			}
		})
	})
}

// Much data in both directions at once, in pieces of all sizes, arrives as it
// was sent.
func TestBytesArriveUnchanged(t *testing.T) {
	const size = 8 << 20
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(data)
	sums := make(chan [32]byte, 1)
	paths(t, func(conn net.Conn) {
		var writing sync.WaitGroup
		writing.Go(func() { conn.Write(data); conn.(*net.TCPConn).CloseWrite() })
		b, _ := io.ReadAll(conn)
		sums <- sha256.Sum256(b)
		writing.Wait()
	}, func(t *testing.T, w *world) {
		c := w.connect("")
		sent := append([]byte{tlsHandshake}, data...)
		var writing sync.WaitGroup
		writing.Go(func() {
			for rest := sent; len(rest) > 0; {
				n := min(len(rest), 1+rand.IntN(100_000))
				if _, err := c.Write(rest[:n]); err != nil {
					t.Error(err)
					return
				}
				rest = rest[n:]
			}
			c.CloseWrite()
		})
		got, err := io.ReadAll(c.r)
		writing.Wait()
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes came down (%v), want the %d sent", len(got), err, size)
		}
		if <-sums != sha256.Sum256(data) {
			t.Error("other bytes went up than were sent")
		}
		s := w.wait("the end", func(s Status) bool { return s.Open == 0 })
		if s.BytesUp != size+1 || s.BytesDown != size {
			t.Errorf("counted %d up and %d down", s.BytesUp, s.BytesDown)
		}
	})
}

// A half-closed tunnel whose other half stays silent ends by its bound; one
// that is open does not.
func TestLinger(t *testing.T) {
	w := newWorld(t, "", func(e *Edge) { e.LingerTimeout = 20 * time.Millisecond })
	release := make(chan struct{})
	w.origin.addr = stranger(t, func(conn net.Conn) {
		io.Copy(io.Discard, conn)
		<-release
	})
	defer close(release)
	w.connect("open")
	half := w.connect("half")
	half.CloseWrite()
	if _, err := half.r.ReadByte(); err == nil {
		t.Error("read a byte from a silent peer")
	}
	if s := w.wait("one open tunnel", func(s Status) bool { return s.Open == 1 }); s.Passthrough != 2 {
		t.Errorf("counted %+v", s)
	}
}
