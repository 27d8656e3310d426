package proxyedge

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// An upgrade replaces the program of the process and keeps its connections.
// For that everybody who owns one must come to rest: own no bytes that are not
// written down, and touch nothing any more. The crowd knows them all.
type crowd struct {
	mu     sync.Mutex
	guests map[*guest]struct{}
	pause  *pause        // of the upgrade at work
	moved  chan struct{} // holds one: somebody came to rest, or left
}

// pause is an upgrade's request to come to rest. First those rest who forward
// requests, when they are between two; then all the others.
type pause struct {
	everybody bool
	over      chan struct{} // closed when the upgrade has failed
}

// guest is one who owns connections: a client's, from its acceptance on, or a
// listener.
type guest struct {
	crowd *crowd

	// Under crowd.mu.
	parcel *parcel // at rest: what the next program is to go on with
	web    bool    // forwards requests

	mu    sync.Mutex
	wake  func() // interrupts what it waits for
	pause *pause // it shall rest
	woken bool   // it was interrupted, and has not settled again
	quiet bool   // it was interrupted since it was silent
	slept bool   // it sleeps: wake interrupts nothing
	stuck string // why it cannot be handed over

	sojourn *sojourn // nil: its tunnel keeps its goroutine
}

var longAgo = time.Unix(1, 0)

func (c *crowd) enter() *guest {
	g := &guest{crowd: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.guests == nil {
		c.guests = make(map[*guest]struct{})
	}
	c.guests[g] = struct{}{}
	if c.pause != nil && c.pause.everybody {
		g.pause = c.pause
	}
	return g
}

func (g *guest) leave() {
	g.crowd.mu.Lock()
	delete(g.crowd.guests, g)
	g.crowd.mu.Unlock()
	g.crowd.notify()
}

func (c *crowd) notify() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case c.moved <- struct{}{}:
	default: // nobody waits, or knows it already
	}
}

// attend says what interrupts the guest from now on. Deadlines that the guest
// has set before are what wake overrides; it sets later ones with deadline.
func (g *guest) attend(wake func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wake, g.slept = wake, false
	g.rouse()
}

// lull interrupts a tunnel that has been silent, so that it may sleep.
func (g *guest) lull() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pause == nil && !g.slept {
		g.woken, g.quiet = true, true
		g.wake()
	}
}

// sleep settles the guest and lays it down with put. From then on wake is what
// interrupts it.
func (g *guest) sleep(settle func(), put func() bool, wake func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pause != nil {
		return false
	}
	g.woken, g.quiet = false, false
	settle()
	if !put() {
		return false
	}
	// Who has woken it meanwhile attends after this.
	g.wake, g.slept = wake, true
	return true
}

// rouse interrupts the guest if it shall rest. The caller holds mu.
func (g *guest) rouse() {
	if g.pause != nil && g.wake != nil {
		g.woken = true
		g.wake()
	}
}

// deadline calls set, which sets deadlines, unless that would undo wake.
func (g *guest) deadline(set func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pause == nil && !g.quiet {
		set()
	}
}

// interrupted tells an error that wake has caused.
func (g *guest) interrupted(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && g.isWoken()
}

func (g *guest) isWoken() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.woken
}

// immovable says that the guest cannot be handed over.
func (g *guest) immovable(why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stuck = why
}

// serveRequests makes the guest one that forwards requests. It is refused
// while those shall rest.
func (g *guest) serveRequests() bool {
	g.crowd.mu.Lock()
	defer g.crowd.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pause = g.crowd.pause; g.pause != nil {
		g.woken = true
		return false
	}
	g.web = true
	return true
}

// serveTunnel takes that back, for a tunnel on a connection that net/http has
// had, and whose goroutine it waits for.
func (g *guest) serveTunnel() {
	g.crowd.mu.Lock()
	defer g.crowd.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.web, g.sojourn = false, nil
	if g.pause != nil && !g.pause.everybody {
		g.pause, g.woken = nil, false
	}
}

// rest lets the parcel be handed over. If it returns, nothing came of the
// upgrade: settle has undone what wake did, and the guest goes on. False: ctx
// has ended, and with it everything.
func (g *guest) rest(ctx context.Context, p *parcel, settle func()) bool {
	for !g.settle(settle) {
		g.mu.Lock()
		pause := g.pause
		g.mu.Unlock()
		if pause == nil {
			continue
		}
		g.place(p)
		select {
		case <-pause.over:
			g.place(nil)
		case <-ctx.Done():
			g.place(nil)
			return false
		}
	}
	return true
}

func (g *guest) place(p *parcel) {
	g.crowd.mu.Lock()
	g.parcel = p
	g.crowd.mu.Unlock()
	g.crowd.notify()
}

func (g *guest) settle(settle func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pause != nil {
		return false
	}
	g.woken, g.quiet = false, false
	settle()
	return true
}

// halt asks the guests to come to rest: those that forward requests, or all.
func (c *crowd) halt(everybody bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pause == nil {
		c.pause = &pause{over: make(chan struct{})}
		c.moved = make(chan struct{}, 1)
	}
	c.pause.everybody = everybody
	for g := range c.guests {
		if !everybody && !g.web {
			continue
		}
		g.mu.Lock()
		if g.pause == nil {
			g.pause = c.pause
			g.rouse()
		}
		g.mu.Unlock()
	}
}

// release lets everybody go on.
func (c *crowd) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for g := range c.guests {
		g.mu.Lock()
		g.pause = nil
		g.mu.Unlock()
	}
	if c.pause != nil {
		close(c.pause.over)
		c.pause, c.moved = nil, nil
	}
}

// await waits until all whom halt has asked are at rest or gone, and returns
// how many are not if ctx ends before.
func (c *crowd) await(ctx context.Context) int {
	for {
		c.mu.Lock()
		moving, moved := 0, c.moved
		for g := range c.guests {
			if (c.pause.everybody || g.web) && g.parcel == nil {
				moving++
			}
		}
		c.mu.Unlock()
		if moving == 0 {
			return 0
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return moving
		}
	}
}

// stuck is why an upgrade is out of the question for now, or "".
func (c *crowd) stuck() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for g := range c.guests {
		g.mu.Lock()
		why := g.stuck
		g.mu.Unlock()
		if why != "" {
			return why
		}
	}
	return ""
}

// parcels are what everybody leaves, or false if somebody came back.
func (c *crowd) parcels() ([]*parcel, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*parcel
	for g := range c.guests {
		if g.parcel == nil {
			return nil, false
		}
		all = append(all, g.parcel)
	}
	return all, true
}

// door is a listener that rests in Accept, so that what it has let in is known
// to the crowd before.
type door struct {
	net.Listener
	guest *guest
	ctx   context.Context
}

// open makes a door of ln until ctx ends.
func (c *crowd) open(ctx context.Context, ln net.Listener) *door {
	d := &door{Listener: ln, guest: c.enter(), ctx: ctx}
	if tcp, ok := ln.(*net.TCPListener); ok {
		d.guest.attend(func() { tcp.SetDeadline(longAgo) })
	} else {
		d.guest.immovable("a listener is not TCP")
	}
	return d
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	for {
		conn, err := d.Listener.Accept()
		if err == nil || !d.guest.interrupted(err) {
			return conn, err
		}
		ln := d.Listener.(*net.TCPListener)
		if !d.guest.rest(d.ctx, &parcel{Kind: kindListener, conns: []handle{ln}}, func() { ln.SetDeadline(time.Time{}) }) {
			return nil, net.ErrClosed
		}
	}
}
