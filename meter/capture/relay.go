package capture

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// dialer has a bound for the whole attempt, over all addresses of a host.
var dialer = net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}

// relay passes a tunnel through to its host blindly, beginning with what was
// read of it. If the host cannot be reached, the client's connection closes
// without a byte, and the edge, which has not committed itself, goes direct.
func (i *Interceptor) relay(t *tunnel, reason string) {
	i.counts.mu.Lock()
	if i.counts.tunneled == nil {
		i.counts.tunneled = make(map[string]int64)
	}
	i.counts.tunneled[reason]++
	i.counts.mu.Unlock()
	i.Logger.Info("capture.tunnel.blind", "host", t.chain.Host, "port", t.chain.Port, "reason", reason)

	i.drain.begin()
	defer i.drain.end()
	if t.SetDeadline(noDeadline) != nil {
		return
	}
	host, err := i.dialFor(t)
	if err != nil {
		i.Logger.Info("capture.tunnel.failed", "host", t.chain.Host, "error", err)
		return
	}
	defer host.Close()
	if _, err := host.Write(t.hello); err != nil {
		return
	}
	t.hello = nil

	var both sync.WaitGroup
	both.Go(func() { pour(host, t.Conn) })
	both.Go(func() { pour(t.Conn, host) })
	finished := make(chan struct{})
	go func() {
		select {
		case <-t.done: // Shutdown closed the client's side
			host.Close()
		case <-finished:
		}
	}()
	both.Wait()
	close(finished)
}

// dialFor connects to the tunnel's host, unless the tunnel is closed first.
func (i *Interceptor) dialFor(t *tunnel) (net.Conn, error) {
	ctx, cancel := context.WithCancel(i.base)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-t.done:
			cancel()
		case <-stop:
		}
	}()
	return i.Dial(ctx, "tcp", net.JoinHostPort(t.chain.Host, strconv.Itoa(t.chain.Port)))
}

// pour copies one direction and passes on how it ended: the end of the stream
// as such, so that the other direction can go on, anything else as a close.
func pour(dst, src net.Conn) {
	_, err := io.Copy(dst, src)
	half, ok := dst.(interface{ CloseWrite() error })
	if err == nil && ok && half.CloseWrite() == nil {
		return
	}
	dst.Close()
	src.Close()
}

// isEnd reports whether err means that the peer is gone.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
