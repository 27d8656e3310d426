package proxyedge

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Why a tunnel or a request was not metered. A daemon that refuses one adds reasons of
// its own, such as "learned" or "draining".
const (
	ReasonNotMetered  = "not_metered"  // nobody wants this host metered
	ReasonPassed      = "passed"       // another edge or the daemon has had it: it is configured to use us as its parent
	ReasonDaemonDown  = "daemon_down"  // no daemon is known, or its health check failed
	ReasonNoKey       = "no_key"       // there is no key to prove the daemon with
	ReasonUnproven    = "unproven"     // what listens there is not our daemon
	ReasonChainFailed = "chain_failed" // the daemon failed before its first byte
	ReasonNotTLS      = "not_tls"      // the client does not speak TLS
	ReasonRefused     = "refused"      // the daemon refused without a short reason
)

// Status is what an edge has done. Counters run on over [Edge.Restore].
type Status struct {
	Since    time.Time `json:"since"`    // when counting began
	Metering bool      `json:"metering"` // the last word on the daemon was good

	// OffSince is when metering was lost, zero while it is on or nobody has
	// asked yet; OffReason and OffDetail are why.
	OffSince  time.Time `json:"off_since,omitzero"`
	OffReason string    `json:"off_reason,omitempty"`
	OffDetail string    `json:"off_detail,omitempty"`

	Open int64 `json:"open"` // tunnels and requests that are open now
	Counts

	// Reasons splits Passthrough.
	Reasons map[string]uint64 `json:"reasons,omitempty"`

	// Hosts holds metered hosts only: where else the user goes is nobody's
	// business. Its size is bounded; what is too much goes to "other".
	Hosts map[string]HostStatus `json:"hosts,omitempty"`
}

// HostStatus is the share of one metered host.
type HostStatus struct {
	Open int64 `json:"open"` // tunnels and requests that are open now
	Counts
	Reasons map[string]uint64 `json:"reasons,omitempty"`
}

// Counts are counted once a tunnel, and once a request that is no CONNECT. The
// bytes of all are counted as they pass, those of a host at the end of each;
// a request's include its head and its answer's.
type Counts struct {
	Metered     uint64 `json:"metered"`     // tunnels that reached the daemon's first byte, requests that it took
	Passthrough uint64 `json:"passthrough"` // went direct, for whatever reason
	Lost        uint64 `json:"lost"`        // passthrough of hosts that should have been metered
	Failed      uint64 `json:"failed"`      // the destination could not be reached
	Aborted     uint64 `json:"aborted"`     // the client left before it was decided
	BytesUp     uint64 `json:"bytes_up"`    // from clients
	BytesDown   uint64 `json:"bytes_down"`  // to clients
}

const (
	maxHosts   = 256
	maxReasons = 32
	otherHost  = "other"
)

// counts is the live form of Status.
type counts struct {
	open     atomic.Int64
	up, down atomic.Uint64

	mu       sync.Mutex
	s        Status
	offChain bool // metering is off because a chain failed, not a probe
}

// tally is one tunnel's account. Its outcome is written once.
type tally struct {
	counts  *counts
	host    string
	metered bool // the host is one that should be metered
}

// Status returns a snapshot.
func (e *Edge) Status() Status { return e.counts.snapshot() }

// Restore continues the counters of an earlier process. Call it before Serve.
// Open tunnels and the verdict on the daemon are not taken over, except since
// when metering has been off.
func (e *Edge) Restore(s Status) { e.counts.restore(s) }

func (c *counts) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.s.Since.IsZero() {
		c.s.Since = time.Now().Round(0)
	}
}

func (c *counts) snapshot() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.s
	s.Open = c.open.Load()
	s.BytesUp, s.BytesDown = c.up.Load(), c.down.Load()
	s.Reasons, s.Hosts = maps.Clone(s.Reasons), maps.Clone(s.Hosts)
	for name, h := range s.Hosts {
		h.Reasons = maps.Clone(h.Reasons)
		s.Hosts[name] = h
	}
	return s
}

func (c *counts) restore(s Status) {
	s.Metering = false
	c.resume(s, false)
}

// resume goes on counting in another program, to which nothing is new.
func (c *counts) resume(s Status, offChain bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offChain = offChain
	c.up.Store(s.BytesUp)
	c.down.Store(s.BytesDown)
	s.Open = 0 // each that goes on counts itself
	s.Reasons, s.Hosts = maps.Clone(s.Reasons), maps.Clone(s.Hosts)
	for name, h := range s.Hosts {
		h.Open, h.Reasons = 0, maps.Clone(h.Reasons)
		s.Hosts[name] = h
	}
	c.s = s
}

// count applies f to the total and, for a metered host, to the host's share.
func (t tally) count(f func(*Counts), reason string) {
	t.counts.mu.Lock()
	f(&t.counts.s.Counts)
	countReason(&t.counts.s.Reasons, reason)
	t.counts.mu.Unlock()
	if t.metered {
		t.share(func(h *HostStatus) { f(&h.Counts); countReason(&h.Reasons, reason) })
	}
}

func (t tally) share(f func(*HostStatus)) {
	c := t.counts
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.s.Hosts == nil {
		c.s.Hosts = make(map[string]HostStatus)
	}
	name := t.host
	if _, known := c.s.Hosts[name]; !known && len(c.s.Hosts) >= maxHosts {
		name = otherHost
	}
	h := c.s.Hosts[name]
	f(&h)
	c.s.Hosts[name] = h
}

// opened adds n to what is open.
func (t tally) opened(n int64) {
	if t.metered {
		t.share(func(h *HostStatus) { h.Open += n })
	}
	t.counts.open.Add(n) // last, so that none open means that all is counted
}

func (t tally) metering() { t.count(func(c *Counts) { c.Metered++ }, "") }
func (t tally) fail()     { t.count(func(c *Counts) { c.Failed++ }, "") }
func (t tally) abort()    { t.count(func(c *Counts) { c.Aborted++ }, "") }

func (t tally) passthrough(not *unmetered) {
	t.count(func(c *Counts) {
		c.Passthrough++
		if t.metered {
			c.Lost++
		}
	}, not.reason)
}

// moved adds a closed tunnel's bytes to its host; the totals have them already.
func (t tally) moved(up, down uint64) {
	if t.metered {
		t.share(func(h *HostStatus) { h.BytesUp += up; h.BytesDown += down })
	}
}

func countReason(m *map[string]uint64, reason string) {
	if reason == "" {
		return
	}
	if *m == nil {
		*m = make(map[string]uint64)
	}
	if _, known := (*m)[reason]; !known && len(*m) >= maxReasons {
		reason = ReasonRefused
	}
	(*m)[reason]++
}

// on notes that the daemon is good: by its health check, or, as tunnel, by
// the first byte of one. A health check does not overrule a failed chain.
func (c *counts) on(tunnel bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.offChain && !tunnel {
		return
	}
	c.offChain, c.s.Metering = false, true
	c.s.OffSince, c.s.OffReason, c.s.OffDetail = time.Time{}, "", ""
}

// off notes that metering is lost, and keeps the time of the first loss.
func (c *counts) off(u *unmetered, tunnel bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.s.Metering = false
	c.offChain = c.offChain || tunnel
	if c.s.OffSince.IsZero() {
		c.s.OffSince = time.Now().Round(0)
	}
	c.s.OffReason, c.s.OffDetail = u.reason, u.detail()
}
