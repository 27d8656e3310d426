package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// workshop is the temporary folder in which everything runs, and knows how to
// clear it away.
type workshop struct {
	dir     string
	program string // halton-meter
	cleanup []func()
	ports   map[int]bool // that were given out
}

func newWorkshop() (*workshop, error) {
	dir, err := os.MkdirTemp("", "meterbench")
	if err != nil {
		return nil, err
	}
	// squid gives up root's rights, and must still reach its configuration.
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // as said
		return nil, err
	}
	return &workshop{dir: dir}, nil
}

// onClose adds a step of the clearing; the last added runs first.
func (w *workshop) onClose(f func()) { w.cleanup = append(w.cleanup, f) }

func (w *workshop) close() {
	for len(w.cleanup) > 0 {
		last := w.cleanup[len(w.cleanup)-1]
		w.cleanup = w.cleanup[:len(w.cleanup)-1]
		last()
	}
	if err := os.RemoveAll(w.dir); err != nil {
		fmt.Fprintln(os.Stderr, "meterbench: clear away:", err)
	}
}

// folder makes a folder in the workshop.
func (w *workshop) folder(name string) (string, error) {
	return os.MkdirTemp(w.dir, name+"-")
}

// build builds halton-meter as it is in this repository.
func (w *workshop) build(ctx context.Context) error {
	w.program = filepath.Join(w.dir, "halton-meter")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", w.program, "github.com/haltonlabs/halton-meter/cmd/halton-meter")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build halton-meter (or name one with -program): %w\n%s", err, out)
	}
	return nil
}

// freePort is a port of 127.0.0.1 that was free a moment ago, outside of the
// range from which the kernel gives ports to clients.
func (w *workshop) freePort() (int, error) {
	if w.ports == nil {
		w.ports = map[int]bool{}
	}
	for range 1000 {
		port := 15000 + rand.IntN(15000) //nolint:gosec // not a secret
		if w.ports[port] {
			continue
		}
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			w.ports[port] = true
			return port, ln.Close()
		}
	}
	return 0, errors.New("find a free port: none among a thousand")
}

// spawn starts a peer and waits until it listens.
func (w *workshop) spawn(ctx context.Context, addr string, command ...string) (pids func() []int, err error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	// Nothing of the user's environment is to lead it elsewhere.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "TMPDIR=" + w.dir}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", command[0], err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	w.onClose(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	if err := awaitListener(ctx, addr, ended); err != nil {
		select {
		case <-ended:
			err = fmt.Errorf("it ended: %s", strings.TrimSpace(said.String()))
		default:
		}
		return nil, fmt.Errorf("start %s: %w", command[0], err)
	}
	return func() []int { return []int{cmd.Process.Pid} }, nil
}

func awaitListener(ctx context.Context, addr string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-ended:
			return errors.New("it ended")
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", addr, context.Cause(ctx))
		}
	}
}
