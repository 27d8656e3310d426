package emulator

import (
	"slices"
	"time"

	"github.com/haltonlabs/halton-meter/launchd"
)

const (
	defaultThrottle    = 10 * time.Second
	defaultExitTimeout = 5 * time.Second // "exit timeout = 5" in every print of macOS 12 and newer
)

// rules is what a job's plist, and the knobs, say about its life.
type rules struct {
	runAtLoad   bool
	onlyOnce    bool
	sudden      bool // no SIGTERM
	throttle    time.Duration
	exitTimeout time.Duration // 0: never SIGKILL
	interval    time.Duration // 0: none
	calendar    []launchd.CalendarInterval
	keepAlive   bool
	conditions  launchd.KeepAliveConditions
	queues      []string
	conditional bool // there are conditions on other things

	pend     string
	teardown time.Duration
}

func rulesOf(job *launchd.Job, knobs Knobs) *rules {
	r := &rules{
		runAtLoad: isTrue(job.RunAtLoad),
		onlyOnce:  isTrue(job.LaunchOnlyOnce),
		// launchd.plist(5): a job with EnableTransactions that has no
		// outstanding transaction may be sent SIGKILL at once, and here none
		// ever has one.
		sudden:      isTrue(job.EnableTransactions),
		throttle:    defaultThrottle,
		exitTimeout: defaultExitTimeout,
		keepAlive:   job.OnDemand != nil && !*job.OnDemand,
		calendar:    job.StartCalendarInterval.Values,
		queues:      job.QueueDirectories,
		conditional: len(job.QueueDirectories) > 0,
		pend:        knobs.PendSpawns,
		teardown:    knobs.TeardownDelay,
	}
	// launchd logs "ThrottleInterval set to zero. You're not that important.
	// Ignoring."
	if t := job.ThrottleInterval; t != nil && *t > 0 {
		r.throttle = seconds(*t)
	}
	if t := job.ExitTimeOut; t != nil && *t >= 0 {
		r.exitTimeout = seconds(*t)
	}
	if t := job.StartInterval; t != nil && *t > 0 {
		r.interval = seconds(*t)
	}
	if k := job.KeepAlive; k != nil {
		if k.Conditions != nil {
			r.conditions, r.conditional = *k.Conditions, true
		} else {
			r.keepAlive = r.keepAlive || k.Always
		}
	}
	return r
}

// wantedAtLoad follows launchd's core.c: the conditions on the last exit
// start a job at load, for otherwise they could never come true.
func (r *rules) wantedAtLoad(outside bool) bool {
	if isTrue(r.conditions.AfterInitialDemand) {
		return false
	}
	return r.runAtLoad || r.keepAlive || outside ||
		r.conditions.SuccessfulExit != nil || r.conditions.Crashed != nil
}

// wantedAfter reports whether the job is to run again after l.Last.
func (r *rules) wantedAfter(l *life, outside bool) bool {
	switch c := r.conditions; {
	case r.onlyOnce || !r.conditionsCount(l):
		return false
	case r.keepAlive || outside:
		return true
	case c.SuccessfulExit != nil && *c.SuccessfulExit == l.Last.success():
		return true
	case c.Crashed != nil && *c.Crashed == l.Last.crash():
		return true
	}
	return false
}

// spent reports whether LaunchOnlyOnce forbids another run.
func (r *rules) spent(l *life) bool { return r.onlyOnce && l.Runs > 0 }

func (r *rules) conditionsCount(l *life) bool {
	return l.Demanded || !isTrue(r.conditions.AfterInitialDemand)
}

// surroundings is what conditions on other things than the job itself ask.
type surroundings struct {
	exists, filled, loaded, active func(name string) bool
}

// outside reports whether a condition of KeepAlive on something other than the
// job itself holds. A queue directory with entries is one too: the job is kept
// alive until it is empty.
func (r *rules) outside(s surroundings) bool {
	return anyHolds(r.conditions.PathState, s.exists) ||
		anyHolds(r.conditions.OtherJobEnabled, s.loaded) ||
		anyHolds(r.conditions.OtherJobActive, s.active) ||
		slices.ContainsFunc(r.queues, s.filled)
}

func anyHolds(wanted map[string]bool, is func(string) bool) bool {
	for name, want := range wanted {
		if is(name) == want {
			return true
		}
	}
	return false
}

// nextRun is when a job that is idle from now on is to be started; zero is
// never. An interval counts from the end of the run before.
func (r *rules) nextRun(now time.Time) time.Time {
	var next time.Time
	if r.interval > 0 {
		next = now.Add(r.interval)
	}
	for _, c := range r.calendar {
		if t := nextMatch(c, now); !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

// bound makes the exit timeout finite, and no longer than most if that is set.
func (r *rules) bound(most time.Duration) {
	if r.exitTimeout == 0 {
		r.exitTimeout = defaultExitTimeout
	}
	if most > 0 {
		r.exitTimeout = min(r.exitTimeout, most)
	}
}

func isTrue(b *bool) bool { return b != nil && *b }

// seconds refuses to overflow: a plist may say any integer.
func seconds(n int) time.Duration {
	const most = 100 * 365 * 24 * 3600
	return time.Duration(min(n, most)) * time.Second
}
