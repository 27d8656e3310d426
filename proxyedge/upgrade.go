package proxyedge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrBusy is what [Edge.Upgrade] returns if something is open that cannot be
// handed over and has not ended in time. Nothing was disturbed; try later.
var ErrBusy = errors.New("connections are open that cannot be handed over")

// restTime is how long all connections may take to come to rest together, in
// which nothing is relayed. It takes a millisecond; a machine that needs more
// than this has other worries.
const restTime = 3 * time.Second

// Upgrade has the program at path take over in place: this process becomes it
// by execve(2), with its number, its listeners and its open tunnels. It is
// started with argv and env, which nil takes from this process. The new program
// calls [Inherited] and [Edge.Resume].
//
// Requests to base URLs and in absolute form are let finish first, within ctx,
// while new ones wait; then everything comes to rest for the moment of the
// exec. No tunnel is cut and no byte is lost or sent twice; who connects
// meanwhile waits in the listener's queue. Beside standard input, output and
// error no other descriptor reaches the new program.
//
// Upgrade returns only if nothing came of it. Then all connections go on in
// this program. [ErrBusy] means that a request has not finished, or that a
// tunnel is open that leads through TLS of the edge's own, as one through an
// https parent proxy: its state cannot be handed over.
//
// The new program is not tried out. Ask it for its [HandoverVersion] before.
func (e *Edge) Upgrade(ctx context.Context, path string, argv, env []string) error {
	e.init()
	if !e.upgrading.TryLock() {
		return fmt.Errorf("upgrade: %w: another upgrade is at work", ErrBusy)
	}
	defer e.upgrading.Unlock()
	if argv == nil {
		argv = append([]string{path}, os.Args[1:]...)
	}
	if env == nil {
		env = os.Environ()
	}
	defer e.crowd.release()
	if err := e.halt(ctx); err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	if err := e.handOver(path, argv, env); err != nil {
		return fmt.Errorf("upgrade to %s: %w", path, err)
	}
	return nil
}

// halt brings everybody to rest.
func (e *Edge) halt(ctx context.Context) error {
	if why := e.crowd.stuck(); why != "" {
		return fmt.Errorf("%w: %s", ErrBusy, why)
	}
	e.crowd.halt(false)
	if n := e.crowd.await(ctx); n > 0 {
		return fmt.Errorf("%w: %d with a request that has not finished", ErrBusy, n)
	}
	ctx, cancel := context.WithTimeout(ctx, restTime)
	defer cancel()
	e.crowd.halt(true)
	if n := e.crowd.await(ctx); n > 0 {
		return fmt.Errorf("%w: %d did not come to rest", ErrBusy, n)
	}
	// One may have been opened meanwhile.
	if why := e.crowd.stuck(); why != "" {
		return fmt.Errorf("%w: %s", ErrBusy, why)
	}
	return nil
}

// handOver writes the record and execs. Everybody rests.
func (e *Edge) handOver(path string, argv, env []string) (err error) {
	e.inheriting.Lock()
	defer e.inheriting.Unlock()
	r, err := e.record()
	if err != nil {
		return err
	}
	data, err := r.encode()
	if err != nil {
		return err
	}
	pipes, err := stow(data)
	if err != nil {
		return err
	}
	defer closeFiles(pipes)
	var fds []string
	var through []handle
	for _, p := range pipes {
		if err := control(p, func(fd int) error { fds = append(fds, strconv.Itoa(fd)); return nil }); err != nil {
			return err
		}
		through = append(through, p)
	}
	for _, p := range r.Parcels {
		through = append(through, p.conns...)
	}
	env = append(withoutHandover(env), handoverEnv+"="+strconv.Itoa(os.Getpid())+":"+strings.Join(fds, ","))

	// No child of this program may inherit what is meant for the next one.
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	defer func() {
		for _, h := range through {
			err = errors.Join(err, inheritable(h, false))
		}
	}()
	for _, h := range through {
		if err := inheritable(h, true); err != nil {
			return err
		}
	}
	exec := e.exec
	if exec == nil {
		exec = syscall.Exec
	}
	return os.NewSyscallError("execve", exec(path, argv, env))
}

func withoutHandover(env []string) []string {
	var kept []string
	for _, v := range env {
		if !strings.HasPrefix(v, handoverEnv+"=") {
			kept = append(kept, v)
		}
	}
	return kept
}

// record is everything that the next program has to know.
func (e *Edge) record() (*record, error) {
	parcels, ok := e.crowd.parcels()
	if !ok {
		return nil, ErrBusy
	}
	// Some may have been inherited by this program itself, and not be served yet.
	r := &record{Version: HandoverVersion, Status: e.counts.snapshot(), Parcels: append(parcels, e.inherited...)}
	e.counts.mu.Lock()
	defer e.counts.mu.Unlock()
	r.Chain = e.counts.offChain
	return r, nil
}

func (t *tunnel) parcel(kind string) *parcel {
	return &parcel{
		Kind: kind, conns: handles(t.client.conn, t.far.conn), up: t.upward.pending, down: t.downward.pending,
		Host: t.tally.host, Metered: t.tally.metered, Up: t.up.Load(), Down: t.down.Load(),
		Ended: [2]bool{t.upward.ended, t.downward.ended},
	}
}

func (k *keeper) parcel() *parcel {
	p := k.tunnel.parcel(kindChain)
	p.up, p.Sent, p.Host, p.Port, p.Daemon = k.kept, len(k.kept)-len(k.unsent), k.host, k.port, k.where
	p.Ended[0] = k.gone != nil
	return p
}

// lostParcel is a tunnel without a far end.
func (k *keeper) lostParcel(not *unmetered) *parcel {
	p := k.parcel()
	p.Kind, p.conns, p.down = kindLost, p.conns[:1], nil
	p.Reason, p.Detail = not.reason, not.detail()
	return p
}

// handles are the connections if all have descriptors of TCP sockets.
func handles(conns ...net.Conn) []handle {
	var all []handle
	for _, c := range conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			all = append(all, tcp)
		}
	}
	return all
}

// Resume continues the tunnels and the counters of the program before this
// one. Call it before Serve, which serves the tunnels; nil does nothing.
func (e *Edge) Resume(in *Inheritance) {
	if in == nil {
		return
	}
	e.inheriting.Lock()
	defer e.inheriting.Unlock()
	e.inherited = append(e.inherited, in.parcels...)
	in.parcels = nil
	if in.complete {
		e.counts.resume(in.status, in.chain)
	}
}

// serveInherited goes on with what Resume took over.
func (e *Edge) serveInherited(ctx context.Context, w *web, serving *sync.WaitGroup) {
	e.inheriting.Lock()
	parcels := e.inherited
	e.inherited = nil
	guests := make([]*guest, len(parcels))
	for i := range parcels {
		guests[i] = e.crowd.enter()
	}
	e.inheriting.Unlock()
	for i, p := range parcels {
		g, client := guests[i], p.conns[0].(net.Conn)
		if p.Kind == kindClient {
			serving.Go(func() { e.serveClient(ctx, g, client, p.up, w, serving) })
			continue
		}
		stop := context.AfterFunc(ctx, func() { client.Close() })
		g.sojourn = &sojourn{edge: e, ctx: ctx, guest: g, client: client, stop: stop, serving: serving}
		serving.Add(1)
		g.sojourn.begin(func(ctx context.Context) bool { return e.continueTunnel(ctx, g, client, p) })
	}
}

// continueTunnel goes on where the parcel says.
func (e *Edge) continueTunnel(ctx context.Context, g *guest, client net.Conn, p *parcel) (asleep bool) {
	t := e.newTunnel(&request{client: client, guest: g, tally: tally{counts: &e.counts, host: p.Host, metered: p.Metered}})
	t.up.Store(p.Up)
	t.down.Store(p.Down)
	k := &keeper{tunnel: t, where: p.Daemon, host: p.Host, port: p.Port, kept: p.up, unsent: p.up[p.Sent:], offered: len(p.up)}
	switch p.Kind {
	case kindTunnel:
		t.reach(p.conns[1].(net.Conn))
		t.upward, t.downward = flow{p.up, p.Ended[0]}, flow{p.down, p.Ended[1]}
		t.half.Store(p.Ended[0] || p.Ended[1])
		g.deadline(t.settle)
		return t.live(ctx)
	case kindChain:
		t.reach(p.conns[1].(net.Conn))
		if p.Ended[0] {
			k.gone = io.EOF
		}
		g.deadline(k.resume)
		return k.run(ctx)
	default: // kindLost
		defer func() {
			if !asleep {
				t.end()
			}
		}()
		return k.repair(ctx, &unmetered{p.Reason, errors.New(p.Detail)})
	}
}
