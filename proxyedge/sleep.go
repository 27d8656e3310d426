package proxyedge

import (
	"context"
	"net"
	"os"
	"sync"
	"time"
)

// A tunnel may say nothing for hours. Awake, each of its directions waits in a
// goroutine, and a goroutine is a stack. So one that has been silent for a lull
// falls asleep: it owns no goroutine, and one poller for all of them waits for
// its two sockets. A tunnel in use does not notice, it is never asleep.
//
// Only tunnels between two plain sockets sleep, and none that is half-closed or
// waits for the daemon's first byte: those have a deadline.

const (
	// lull is the least silence that makes a tunnel sleep, twice that the most:
	// longer than between two events of a stream, so that to wake up, some
	// microseconds, is rare.
	lull = time.Second

	// manySleepers are worth a garbage collection.
	manySleepers = 256
)

// sleepers are the tunnels of an Edge that sleep, or may fall asleep.
type sleepers struct {
	edge *Edge

	mu      sync.Mutex
	serving int // calls of Serve
	awake   map[*tunnel]struct{}
	timer   *time.Timer // nil: nobody is awake, or has just fallen asleep
	fallen  int         // asleep since memory was last given back

	beds    map[int]*tunnel // by both of their descriptors
	polling *polling        // nil: nobody has slept yet
	broken  bool            // the poller cannot be had
}

// polling is a poller at work.
type polling struct {
	poller     *poller
	quit, stop *os.File // a pipe: its end ends the work
	quitFD     int
	done       chan struct{}

	proved bool // under the sleepers' mutex: it has told of the pipe
}

// open keeps the poller, once there is one, until close is called.
func (s *sleepers) open() (close func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serving++
	return s.close
}

func (s *sleepers) close() {
	s.mu.Lock()
	var p *polling
	if s.serving--; s.serving == 0 {
		p, s.polling = s.polling, nil
		if s.timer != nil {
			s.timer.Stop()
			s.timer, s.fallen = nil, 0
		}
	}
	s.mu.Unlock()
	if p != nil {
		p.stop.Close()
		<-p.done
	}
}

// watch has t told when it has been silent for a lull.
func (s *sleepers) watch(t *tunnel) {
	if t.guest.sojourn == nil || t.client.raw == nil || t.far.raw == nil || t.half.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return
	}
	if s.awake == nil {
		s.awake = make(map[*tunnel]struct{})
	}
	t.seen = ^uint64(0) // not looked at yet
	s.awake[t] = struct{}{}
	s.tick()
}

func (s *sleepers) forget(t *tunnel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.awake, t)
}

// tick has look called after a lull. The caller holds mu.
func (s *sleepers) tick() {
	if s.timer == nil {
		s.timer = time.AfterFunc(s.edge.lull, s.look)
	}
}

// look sends to sleep who has been silent since the last look.
func (s *sleepers) look() {
	s.mu.Lock()
	if s.timer == nil {
		s.mu.Unlock()
		return // closed meanwhile
	}
	var silent []*tunnel
	for t := range s.awake {
		switch moved := t.up.Load() + t.down.Load(); {
		case t.half.Load():
			delete(s.awake, t)
		case moved != t.seen:
			t.seen = moved
		case t.writing.Load() == 0: // else it waits for a slow reader
			silent = append(silent, t)
			delete(s.awake, t)
		}
	}
	release := s.fallen >= manySleepers && len(silent) == 0
	if release {
		s.fallen = 0
	}
	s.timer = nil
	if len(s.awake) > 0 || len(silent) > 0 || s.fallen >= manySleepers {
		s.tick()
	}
	s.mu.Unlock()
	for _, t := range silent {
		t.guest.lull()
	}
	if release && s.edge.Release != nil {
		s.edge.Release()
	}
}

// put lays t down. From then on it is whoever's that wakes it.
func (s *sleepers) put(ctx context.Context, t *tunnel, onward errand) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil || !s.start() || !s.polling.proved {
		return false
	}
	for i, conn := range []handle{t.client.conn.(*net.TCPConn), t.far.conn.(*net.TCPConn)} {
		if err := control(conn, func(fd int) error {
			t.fds[i], s.beds[fd] = fd, t
			return s.polling.poller.arm(fd)
		}); err != nil {
			s.raise(t)
			return false
		}
	}
	t.client.rest()
	t.far.rest()
	t.onward = onward
	s.fallen++
	s.tick()
	return true
}

// raise takes t out of its bed and lets it go on, if it slept. The caller holds
// mu. Its sockets may stay armed: what they tell once more, nobody heeds.
func (s *sleepers) raise(t *tunnel) {
	for _, fd := range t.fds {
		if s.beds[fd] == t {
			delete(s.beds, fd)
		}
	}
	if t.onward != nil {
		t.guest.sojourn.begin(t.onward)
		t.onward = nil
	}
}

// wake lets t go on, if it is asleep.
func (s *sleepers) wake(t *tunnel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raise(t)
}

func (s *sleepers) wakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.beds {
		s.raise(t)
	}
}

// start has the poller at work. The caller holds mu.
func (s *sleepers) start() bool {
	if s.broken || s.serving == 0 {
		return false
	}
	if s.polling != nil {
		return true
	}
	p, err := newPolling()
	if err != nil {
		s.fail(err)
		return false
	}
	s.polling, s.beds = p, make(map[int]*tunnel)
	go s.poll(p)
	return true
}

// fail has all tunnels stay awake, which costs memory and nothing else. The
// caller holds mu.
func (s *sleepers) fail(err error) {
	s.broken = true
	s.edge.log.Warn("edge.sleep.failed", "err", err)
}

func newPolling() (*polling, error) {
	poller, err := newPoller()
	if err != nil {
		return nil, err
	}
	quit, stop, err := os.Pipe()
	if err != nil {
		poller.close()
		return nil, err
	}
	p := &polling{poller: poller, quit: quit, stop: stop, done: make(chan struct{})}
	err = control(quit, func(fd int) error { p.quitFD = fd; return poller.arm(fd) })
	if err == nil {
		_, err = stop.Write([]byte{0})
	}
	if err != nil {
		stop.Close()
		p.close()
		return nil, err
	}
	return p, nil
}

// prove waits for the poller to tell of the byte in the pipe, and arms the
// pipe for its end. A tunnel that nobody wakes would hang: better none sleeps
// than one in a poller that is not known to tell anything.
func (p *polling) prove() error {
	if _, err := p.poller.wait(nil); err != nil {
		return err
	}
	if _, err := p.quit.Read(make([]byte, 1)); err != nil {
		return err
	}
	return p.poller.arm(p.quitFD)
}

func (p *polling) close() {
	p.quit.Close()
	p.poller.close()
}

// poll wakes those who are spoken to, until the pipe ends.
func (s *sleepers) poll(p *polling) {
	defer close(p.done)
	defer p.close()
	err := p.prove()
	s.mu.Lock()
	p.proved = err == nil
	s.mu.Unlock()
	for ready := []int(nil); ; {
		if err == nil {
			ready, err = p.poller.wait(ready[:0])
		}
		if err != nil {
			s.mu.Lock()
			s.fail(err)
			s.mu.Unlock()
			s.wakeAll()
			return
		}
		for _, fd := range ready {
			if fd == p.quitFD {
				return
			}
			s.mu.Lock()
			t := s.beds[fd]
			s.mu.Unlock()
			// If a tunnel of now has the number of a socket of before, it is
			// woken for nothing.
			if t != nil {
				s.wake(t)
			}
		}
	}
}

// doze lets a tunnel at rest fall asleep, as settle leaves it. If it does, it is
// its caller's no more: onward is what it wakes to.
func (t *tunnel) doze(ctx context.Context, settle func(), onward errand) bool {
	if t.guest.sojourn == nil || t.client.raw == nil || t.far.raw == nil || t.broken.Load() ||
		t.upward.ended || t.downward.ended || len(t.upward.pending)+len(t.downward.pending) > 0 {
		return false
	}
	return t.guest.sleep(settle, func() bool { return t.edge.sleepers.put(ctx, t, onward) }, t.awaken)
}

// awaken is what an upgrade interrupts a sleeping tunnel with: awake, it comes
// to rest as all the others do.
func (t *tunnel) awaken() { t.edge.sleepers.wake(t) }
