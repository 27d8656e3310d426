package proxyedge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// accept hands the connections of ln to handle until ctx ends, and closes ln.
//
// A failing Accept does not end it: EMFILE, ENFILE, ENOBUFS and ECONNABORTED
// (accept(2)) pass, and an always-on port must outlive them.
func accept(ctx context.Context, ln net.Listener, log *slog.Logger, handle func(net.Conn)) error {
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	defer ln.Close()

	const shortest, longest = 5 * time.Millisecond, time.Second
	pause := shortest
	for {
		conn, err := ln.Accept()
		switch {
		case err == nil:
			pause = shortest
			handle(conn)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
		default:
			log.Warn("edge.accept.failed", "err", err, "retry_in", pause)
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return nil
			}
			pause = min(2*pause, longest)
		}
	}
}
