package edgectl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/haltonlabs/halton-meter/proxyedge"
)

const (
	// requestsWait is how long an upgrade that somebody has asked for waits
	// for open requests, while new ones wait for it.
	requestsWait = 3 * time.Second
	// Later attempts hardly disturb: a request may be a model that thinks for
	// minutes, or a WebSocket that is open for hours.
	retryEvery = 5 * time.Second
	retryWait  = 50 * time.Millisecond
)

// What an edge can answer to [Upgrade].
var (
	// ErrPostponed means that requests are open which cannot be handed over.
	// The edge upgrades by itself when they have ended.
	ErrPostponed = errors.New("the upgrade is postponed")
	// ErrCannotUpgrade means that the edge stays what it is.
	ErrCannotUpgrade = errors.New("the edge cannot upgrade in place")
)

// serveUpgrade answers only if nothing came of the upgrade; else the process
// is another program by then, and the connection is closed.
func (c *Control) serveUpgrade(ctx context.Context, w http.ResponseWriter) {
	if c.Upgrade == nil {
		http.Error(w, "this edge cannot upgrade", http.StatusNotImplemented)
		return
	}
	if c.postponed.Load() {
		// Each attempt has new requests wait for open ones.
		http.Error(w, "requests are open", http.StatusConflict)
		return
	}
	c.write() // should the new program crash, this is what is left
	err := c.attempt(ctx, requestsWait)
	if errors.Is(err, proxyedge.ErrBusy) {
		c.Logger.Info("edge.upgrade.postponed", "reason", err.Error())
		if c.postponed.CompareAndSwap(false, true) {
			go c.retry(ctx)
		}
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	c.Logger.Error("edge.upgrade.failed", "error", err.Error())
	http.Error(w, err.Error(), http.StatusInternalServerError)
}

func (c *Control) attempt(ctx context.Context, wait time.Duration) error {
	if err := c.Upgrade(ctx, wait); err != nil {
		return err
	}
	return errors.New("the new program did not take over")
}

// retry tries until it succeeds, or there is another reason why not.
func (c *Control) retry(ctx context.Context) {
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := c.attempt(ctx, retryWait); !errors.Is(err, proxyedge.ErrBusy) {
			c.Logger.Error("edge.upgrade.failed", "error", err.Error())
			c.postponed.Store(false)
			return
		}
	}
}

// Upgrade asks the edge that serves socket to become the program whose
// [ProgramID] is program, and waits until it has.
func Upgrade(ctx context.Context, socket, program string) error {
	resp, err := do(ctx, socket, http.MethodPost, "/upgrade")
	if err == nil {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		why := strings.TrimSpace(string(text))
		switch resp.StatusCode {
		case http.StatusConflict:
			return fmt.Errorf("%w: %s", ErrPostponed, why)
		case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
			return fmt.Errorf("%w: it is too old", ErrCannotUpgrade)
		default:
			return fmt.Errorf("%w: %s", ErrCannotUpgrade, why)
		}
	}
	// It closed the connection without an answer, as it should.
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		rep, err := Ask(ctx, socket)
		if err == nil && rep.Program == program {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: it does not answer as the new program: %w", ErrCannotUpgrade, errors.Join(err, ctx.Err()))
		case <-tick.C:
		}
	}
}
