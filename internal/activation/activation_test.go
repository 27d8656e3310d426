package activation

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/haltonlabs/halton-meter/internal/unixsock"
)

// supervisor answers one question with serve.
func supervisor(t *testing.T, serve func(*net.UnixConn, string) error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sock")
	ln, err := unixsock.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			served <- err
			return
		}
		defer conn.Close()
		fmt.Fprintln(conn, "{}")
		question, err := bufio.NewReader(conn).ReadBytes('\n')
		var q struct{ Verb, Key string }
		err = errors.Join(err, json.Unmarshal(question, &q))
		if q.Verb != Verb {
			err = errors.Join(err, fmt.Errorf("verb %q", q.Verb))
		}
		served <- errors.Join(err, serve(conn.(*net.UnixConn), q.Key))
	}()
	t.Cleanup(func() {
		ln.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return path
}

func TestAskGetsOpenFilesThatNobodyInherits(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	path := supervisor(t, func(conn *net.UnixConn, name string) error {
		if name != "a \"name\"" {
			return fmt.Errorf("asked for %q", name)
		}
		return Answer(conn, OK, []*os.File{w, w})
	})
	files, code, err := Ask(t.Context(), path, "a \"name\"")
	if err != nil || code != OK || len(files) != 2 {
		t.Fatalf("%v, %d, %v", files, code, err)
	}
	w.Close()
	for i, f := range files {
		if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d: flags %x, %v", i, flags, err)
		}
		fmt.Fprintln(f, i)
		f.Close()
	}
	if text, err := io.ReadAll(r); err != nil || string(text) != "0\n1\n" {
		t.Errorf("through the pipe: %q, %v", text, err)
	}
}

func TestAskIsRefused(t *testing.T) {
	for _, want := range []int{NoSuchSocket, NotManaged, AlreadyActive, 118} {
		path := supervisor(t, func(conn *net.UnixConn, _ string) error { return Answer(conn, want, nil) })
		if files, code, err := Ask(t.Context(), path, "x"); files != nil || code != want || err != nil {
			t.Errorf("%v, %d, %v; want %d", files, code, err, want)
		}
	}
}

func TestAskOfASupervisorThatDies(t *testing.T) {
	path := supervisor(t, func(*net.UnixConn, string) error { return nil })
	if files, code, err := Ask(t.Context(), path, "x"); err == nil {
		t.Errorf("no answer: %v, %d", files, code)
	}
	if _, _, err := Ask(t.Context(), filepath.Join(t.TempDir(), "none"), "x"); !errors.Is(err, ErrNoSupervisor) {
		t.Errorf("no supervisor: %v", err)
	}
}

func TestAskEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	path := supervisor(t, func(conn *net.UnixConn, _ string) error {
		cancel()
		_, err := io.Copy(io.Discard, conn) // until the other end closes
		return err
	})
	if _, _, err := Ask(ctx, path, "x"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
