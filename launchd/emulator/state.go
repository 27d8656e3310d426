package emulator

import (
	"cmp"
	"time"
)

// state is where a job is in its life, spelled as launchctl print does.
type state string

const (
	idle      state = "not running"
	scheduled state = "spawn scheduled" // wants to run; waits for the throttle
	starting  state = "xpcproxy"        // has a process, not yet its program
	running   state = "running"
	terming   state = "SIGTERMed" // asked to end; waits for its death
	killed    state = "SIGKILLed"
	lingering state = "lingering" // dead, label not yet free; prints SIGTERMed
	gone      state = "gone"      // the label is free
)

type event struct {
	kind    eventKind
	pid     int        // spawned
	status  exitStatus // exited
	reason  string     // demand: the immediate reason; empty is a person's or a timer's
	outside bool       // load, exited, world: a KeepAlive condition on other things holds
}

type eventKind int

const (
	load    eventKind = iota // bootstrap took the job in
	demand                   // kickstart, a connection, a changed path
	restart                  // kickstart -k
	halt                     // launchctl stop
	bootout
	spawned // the process exists
	execed  // and runs the job's program
	exited  // it is dead, or could not be spawned
	due     // the time life.Due has come
	world   // paths or other jobs changed
)

// effect is what the supervisor has to do after a step.
type effect int

const (
	nothing effect = iota
	spawn
	sendTerm
	sendKill
)

// life is what changes in the life of a job; rules is what does not.
//
//	state      event     next state                           effect
//	idle       load      start, if the rules want it          spawn
//	idle       demand    start                                spawn
//	idle       restart   start                                spawn
//	idle       world     start, if a condition holds          spawn
//	idle       due       start (interval or calendar)         spawn
//	idle       bootout   gone
//	scheduled  due       starting                             spawn
//	scheduled  bootout   gone
//	starting   spawned   starting
//	starting   execed    running
//	a process  restart   terming, then respawn                SIGTERM
//	a process  halt      terming, then what the rules want    SIGTERM
//	a process  bootout   terming, then remove                 SIGTERM
//	a process  exited    start, if the rules want it; idle    spawn
//	terming*   bootout   terming, then remove
//	terming*   demand    terming, then respawn (if halted)
//	terming    due       killed                               SIGKILL
//	terming*   exited    as said above                        spawn
//	lingering  due       gone
//
// "A process" is starting or running, "terming*" also killed, and "start" is
// starting, or scheduled while the throttle lasts. All else changes nothing.
// With LaunchOnlyOnce there is one start, and no restart; with
// EnableTransactions SIGTERM and terming are SIGKILL and killed.
type life struct {
	State     state
	Remove    bool      // terming: what follows is removal
	Halted    bool      // terming: what follows is up to the rules
	Due       time.Time // when to step with due; zero is never
	SpawnedAt time.Time // of the last spawn: the throttle counts from here
	PID       int
	Reason    string // immediate reason of the last start
	Pended    string // why a start that nobody demanded is put off
	Demanded  bool   // a demand has come, for AfterInitialDemand
	Runs      int
	Last      exitStatus
}

// onDemand is the immediate reason of kickstart, of timers and of the calendar.
const onDemand = "non-ipc demand"

// step moves the life of a job by one event. It is pure but for l.
func (l *life) step(r *rules, ev event, now time.Time) effect {
	switch ev.kind {
	case load:
		if r.wantedAtLoad(ev.outside) {
			return l.undemanded(r, "speculative", now)
		}
		l.rest(r, now)
	case demand, restart:
		l.Demanded = true
		switch l.State {
		case idle:
			return l.start(r, cmp.Or(ev.reason, onDemand), now)
		case starting, running:
			if ev.kind == restart && !r.spent(l) {
				return l.terminate(r, now)
			}
		case terming, killed:
			l.Halted = false
		}
	case halt:
		if l.State == starting || l.State == running {
			l.Halted = true
			return l.terminate(r, now)
		}
	case bootout:
		switch l.State {
		case starting, running:
			l.Remove = true
			return l.terminate(r, now)
		case terming:
			l.Remove = true
			// A supervisor that ends has set a bound since the SIGTERM.
			if l.Due.IsZero() && r.exitTimeout > 0 {
				l.Due = now.Add(r.exitTimeout)
			}
		case killed:
			l.Remove = true
		case idle, scheduled:
			l.leave(r, now)
		}
	case spawned:
		l.PID = ev.pid
	case execed:
		if l.State == starting {
			l.State = running
		}
	case exited:
		respawn := l.State == terming || l.State == killed
		respawn = respawn && !l.Halted
		l.PID, l.Last, l.Halted = 0, ev.status, false
		switch {
		case l.Remove:
			l.leave(r, now)
		case respawn:
			return l.start(r, onDemand, now)
		case r.wantedAfter(l, ev.outside):
			return l.undemanded(r, "semaphore", now)
		default:
			l.rest(r, now)
		}
	case due:
		switch l.State {
		case idle:
			return l.start(r, onDemand, now)
		case scheduled:
			return l.spawn(now)
		case terming:
			l.State, l.Due = killed, time.Time{}
			return sendKill
		case lingering:
			l.State, l.Due = gone, time.Time{}
		}
	case world:
		if l.State == idle && l.Pended == "" && ev.outside && r.conditionsCount(l) {
			return l.undemanded(r, "semaphore", now)
		}
	}
	return nothing
}

// undemanded is start for a reason of launchd's own, which the system may put
// off for as long as it likes ("pended nondemand spawn").
func (l *life) undemanded(r *rules, reason string, now time.Time) effect {
	if r.pend != "" {
		l.rest(r, now)
		l.Pended = r.pend
		return nothing
	}
	return l.start(r, reason, now)
}

// start spawns at once or when the throttle is over. launchd logs "Service
// only ran for 2 seconds. Pushing respawn out by 8 seconds": whole seconds,
// counted from the spawn, but added to the present.
func (l *life) start(r *rules, reason string, now time.Time) effect {
	if r.spent(l) {
		l.rest(r, now)
		return nothing
	}
	l.Reason, l.Pended = reason, ""
	ran := max(0, now.Sub(l.SpawnedAt).Truncate(time.Second))
	if l.SpawnedAt.IsZero() || ran >= r.throttle {
		return l.spawn(now)
	}
	l.State, l.Due = scheduled, now.Add(r.throttle-ran)
	return nothing
}

func (l *life) spawn(now time.Time) effect {
	l.State, l.Due, l.SpawnedAt = starting, time.Time{}, now
	l.Runs++
	return spawn
}

func (l *life) terminate(r *rules, now time.Time) effect {
	if r.sudden {
		l.State, l.Due = killed, time.Time{}
		return sendKill
	}
	l.State, l.Due = terming, time.Time{}
	if r.exitTimeout > 0 {
		l.Due = now.Add(r.exitTimeout)
	}
	return sendTerm
}

// rest waits for a demand or for the time of the next run.
func (l *life) rest(r *rules, now time.Time) {
	l.State, l.Due = idle, time.Time{}
	if !r.spent(l) {
		l.Due = r.nextRun(now)
	}
}

func (l *life) leave(r *rules, now time.Time) {
	l.State, l.Due = gone, time.Time{}
	if r.teardown > 0 {
		l.State, l.Due = lingering, now.Add(r.teardown)
	}
}

// settle makes up for a clock that was set back: nobody waits longer than the
// rules say, counted from now.
func (l *life) settle(r *rules, now time.Time) {
	if l.Due.IsZero() {
		return
	}
	latest := l.Due
	switch l.State {
	case idle:
		latest = r.nextRun(now)
	case scheduled:
		latest = now.Add(r.throttle)
	case terming:
		latest = now.Add(r.exitTimeout)
	case lingering:
		latest = now.Add(r.teardown)
	}
	if l.Due.After(latest) {
		l.Due = latest
	}
}
