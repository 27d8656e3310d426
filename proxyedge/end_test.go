package proxyedge

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
)

// ends are the two ends of a connection over a socket.
func ends(t *testing.T) (*end, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	return newEnd(near), far
}

// more than the buffers of a loopback connection take (tcp(7), tcp_wmem and
// tcp_rmem).
const more = 32 << 20

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func TestEndWritesAll(t *testing.T) {
	for name, prompt := range map[string]bool{"prompt": true, "late": false} {
		t.Run(name, func(t *testing.T) {
			e, far := ends(t)
			b := noise(more)
			heard := make(chan [32]byte, 1)
			go func() {
				all, _ := io.ReadAll(far)
				heard <- sha256.Sum256(all)
			}()
			for _, part := range [][]byte{b[:1], b[1:100], b[100:]} {
				if n, err := e.write(part, prompt); n != len(part) || err != nil {
					t.Errorf("wrote %d of %d: %v", n, len(part), err)
				}
			}
			e.conn.Close()
			if <-heard != sha256.Sum256(b) {
				t.Error("other bytes arrived than were written")
			}
		})
	}
}

// An interrupted write says how much it wrote: the rest goes on elsewhere.
func TestEndSaysWhatItWrote(t *testing.T) {
	for name, prompt := range map[string]bool{"prompt": true, "late": false} {
		t.Run(name, func(t *testing.T) {
			e, far := ends(t)
			b := noise(more)
			wrote := make(chan int, 1)
			go func() {
				n, err := e.write(b, prompt)
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("write ended with %v", err)
				}
				wrote <- n
			}()
			head := make([]byte, 1)
			if _, err := io.ReadFull(far, head); err != nil {
				t.Fatal(err)
			}
			e.conn.SetDeadline(longAgo)
			n := <-wrote
			e.conn.Close()
			tail, err := io.ReadAll(far)
			if got := append(head, tail...); err != nil || !bytes.Equal(got, b[:n]) {
				t.Errorf("%d bytes arrived of %d written: %v", len(got), n, err)
			}
			if n == 0 || n == len(b) {
				t.Errorf("wrote %d of %d", n, len(b))
			}
		})
	}
}

func TestEndTellsThatNobodyReads(t *testing.T) {
	for name, prompt := range map[string]bool{"prompt": true, "late": false} {
		t.Run(name, func(t *testing.T) {
			e, far := ends(t)
			reset(far)
			if _, _, err := e.next(1); err == nil {
				t.Fatal("read of a connection that was reset")
			}
			if n, err := e.write([]byte("x"), prompt); err == nil {
				t.Errorf("wrote %d to a connection that was reset", n)
			}
		})
	}
}

// Only who has waited writes behind the scheduler's back.
func TestEndKnowsWhetherItWaited(t *testing.T) {
	e, far := ends(t)
	silent := make(chan bool, 1)
	e.in = &receiving{}
	asked := false
	e.in.now = func(fd uintptr) bool {
		got := e.in.read(fd)
		if !got && !asked { // it may be woken for nothing
			silent <- true
		}
		asked = !got
		return got
	}
	go func() {
		for range silent {
			far.Write([]byte("word"))
		}
	}()
	defer close(silent)
	for i, waits := range []bool{true, false, true, false} {
		b, _, err := e.next(2)
		if err != nil {
			t.Fatal(err)
		}
		buffers.Put(b)
		if e.waited() != waits {
			t.Errorf("read %d waited: %v, want %v", i, !waits, waits)
		}
	}
}
