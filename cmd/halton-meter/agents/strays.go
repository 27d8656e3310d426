package agents

import (
	"context"
	"errors"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/edgectl"
	"github.com/haltonlabs/halton-meter/internal/process"
	"github.com/haltonlabs/halton-meter/portalloc"
)

// Stray is a process of ours that may run without launchd's knowledge.
type Stray struct {
	Name string // edge or daemon
	PID  int
	id   string
}

// Strays are the processes that are proven to be ours: the one that answers on
// the edge's socket, in a directory that only the user can enter, and the one
// that the record of ports names and that has not been another since. A process
// is never ours for its name alone.
func Strays(ctx context.Context, p Paths) []Stray {
	var found []Stray
	add := func(name string, pid int) {
		id, err := process.ID(pid)
		if err != nil || pid == os.Getpid() || slices.ContainsFunc(found, func(s Stray) bool { return s.PID == pid }) {
			return
		}
		found = append(found, Stray{Name: name, PID: pid, id: id})
	}
	ask, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if rep, err := edgectl.Ask(ask, p.EdgeSocket()); err == nil {
		add("edge", rep.PID)
	}
	if rec, err := portalloc.ReadRecord(p.Ports()); err == nil && rec.Live() {
		add("daemon", rec.PID)
	}
	return found
}

// End ends the process: with SIGTERM, and after grace with SIGKILL. It returns
// when the process is gone.
func (s Stray) End(ctx context.Context, grace time.Duration) error {
	if err := s.signal(ctx, syscall.SIGTERM, grace); err == nil || ctx.Err() != nil {
		return err
	}
	return s.signal(ctx, syscall.SIGKILL, 5*time.Second)
}

func (s Stray) signal(ctx context.Context, signal syscall.Signal, patience time.Duration) error {
	if !process.Is(s.PID, s.id) {
		return nil
	}
	if err := syscall.Kill(s.PID, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for process.Is(s.PID, s.id) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}
