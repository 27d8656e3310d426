// Package edgectl lets other commands ask a running edge what it did: over a
// Unix socket in the state directory, and from a file that outlives it. Over
// the socket they also ask it to become the program that is installed now.
//
// The socket is not reachable through the edge itself, since no proxy request
// names a Unix socket.
package edgectl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/haltonlabs/halton-meter/internal/atomicfile"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
	"github.com/haltonlabs/halton-meter/internal/unixsock"
	"github.com/haltonlabs/halton-meter/proxyedge"
)

const (
	// flushEvery is how much counting a crash of the edge may lose.
	flushEvery = 10 * time.Second
	// maxReport bounds what is read back, of a file or of a socket.
	maxReport = 1 << 20
)

// Self says which process an edge is.
type Self struct {
	PID       int       `json:"pid"`
	Port      int       `json:"port"`
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	// UpgradedAt is when this program took the process over from another.
	UpgradedAt time.Time `json:"upgraded_at,omitzero"`
	// Program is the [ProgramID] of what the process runs.
	Program string `json:"program,omitempty"`
	// Setup tells how the process reaches the providers from how another does.
	Setup string `json:"setup,omitempty"`
}

// Report is what an edge answers, and what the file holds.
type Report struct {
	Self
	// Postponed: the edge becomes what is installed now as soon as nothing is
	// open that this would cut. It need not be asked again.
	Postponed bool `json:"upgrade_postponed,omitempty"`
	proxyedge.Status
}

// Control publishes an edge's counters. Nothing that fails here stops the
// edge; it is logged.
type Control struct {
	Edge     *proxyedge.Edge
	Self     Self
	Socket   string
	Counters string
	Logger   *slog.Logger

	// Resumed means that the edge has the counters of the one before already.
	Resumed bool
	// Upgrade makes the edge the program that is installed now, and waits for
	// open requests for that long. It returns only if nothing came of it. Nil:
	// it cannot.
	Upgrade func(ctx context.Context, wait time.Duration) error

	postponed atomic.Bool
}

// Start restores the counters of an earlier edge, serves the socket and
// flushes the file until ctx ends or the returned function is called, which
// flushes once more.
func (c *Control) Start(ctx context.Context) (stop func()) {
	if !c.Resumed {
		c.restore()
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { c.serve(ctx) })
	wg.Go(func() { c.flush(ctx) })
	return func() {
		cancel()
		wg.Wait()
		c.write()
	}
}

func (c *Control) restore() {
	old, err := Read(c.Counters)
	if err == nil {
		c.Edge.Restore(old.Status)
	} else if !errors.Is(err, fs.ErrNotExist) {
		c.Logger.Warn("edge.counters.unreadable", "error", err.Error())
	}
}

func (c *Control) report() Report {
	return Report{Self: c.Self, Postponed: c.postponed.Load(), Status: c.Edge.Status()}
}

func (c *Control) serve(ctx context.Context) {
	ln, err := unixsock.Listen(c.Socket)
	if err != nil {
		c.Logger.Warn("edge.control.unavailable", "error", err.Error())
		return
	}
	defer os.Remove(c.Socket)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		// The asker may be gone; there is nobody to tell.
		_ = json.NewEncoder(w).Encode(c.report())
	})
	mux.HandleFunc("POST /upgrade", func(w http.ResponseWriter, _ *http.Request) { c.serveUpgrade(ctx, w) })
	srv := &http.Server{Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: time.Minute}
	defer context.AfterFunc(ctx, func() { srv.Close() })()
	if err := srv.Serve(ln); err != nil && ctx.Err() == nil {
		c.Logger.Warn("edge.control.failed", "error", err.Error())
	}
}

func (c *Control) flush(ctx context.Context) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.write()
		}
	}
}

func (c *Control) write() {
	data, err := json.Marshal(c.report())
	if err == nil {
		err = atomicfile.Write(c.Counters, append(data, '\n'), 0o600)
	}
	if err != nil {
		c.Logger.Warn("edge.counters.unwritten", "error", err.Error())
	}
}

// Ask asks the edge that serves socket.
func Ask(ctx context.Context, socket string) (Report, error) {
	resp, err := do(ctx, socket, http.MethodGet, "/status")
	if err != nil {
		return Report{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Report{}, fmt.Errorf("ask edge: %s", resp.Status)
	}
	return decode(resp.Body)
}

func do(ctx context.Context, socket, method, path string) (*http.Response, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return unixsock.Dial(ctx, socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://edge"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask edge: %w", err)
	}
	return resp, nil
}

// Read reads the report that an edge left in its file.
func Read(path string) (Report, error) {
	data, err := smallfile.Read(path, maxReport)
	if err != nil {
		return Report{}, err
	}
	return decode(bytes.NewReader(data))
}

func decode(r io.Reader) (Report, error) {
	var rep Report
	if err := json.NewDecoder(io.LimitReader(r, maxReport)).Decode(&rep); err != nil {
		return Report{}, fmt.Errorf("read edge report: %w", err)
	}
	return rep, nil
}
