package emulator

import (
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/launchd"
)

// moment is a step at a time (in seconds from the start) and what must come
// of it.
type moment struct {
	at     float64
	ev     event
	want   effect
	state  state
	due    float64 // 0: none
	reason string
}

func code(n int) event { return event{kind: exited, status: exitStatus{withCode, n}} }

var (
	segv    = event{kind: exited, status: exitStatus{bySignal, 11}}
	term    = event{kind: exited, status: exitStatus{bySignal, 15}}
	unknown = event{kind: exited, status: exitStatus{Kind: lost}}
)

func TestLife(t *testing.T) {
	always := &launchd.KeepAlive{Always: true}
	when := func(c launchd.KeepAliveConditions) *launchd.KeepAlive { return &launchd.KeepAlive{Conditions: &c} }
	up := func(at float64) []moment {
		return []moment{{at: at, ev: event{kind: spawned, pid: 9}, state: starting}, {at: at, ev: event{kind: execed}, state: running}}
	}
	join := func(parts ...[]moment) (all []moment) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	one := func(m moment) []moment { return []moment{m} }

	for name, c := range map[string]struct {
		job   launchd.Job
		knobs Knobs
		run   []moment
	}{
		"no key: only a demand starts it": {run: join(
			one(moment{at: 0, ev: event{kind: load}, state: idle}),
			one(moment{at: 1, ev: event{kind: demand}, want: spawn, state: starting, reason: "non-ipc demand"}),
			up(1),
			one(moment{at: 2, ev: event{kind: demand}, state: running}),
			one(moment{at: 3, ev: segv, state: idle}),
		)},
		"RunAtLoad starts once": {job: launchd.Job{RunAtLoad: new(true)}, run: join(
			one(moment{at: 0, ev: event{kind: load}, want: spawn, state: starting, reason: "speculative"}),
			up(0),
			one(moment{at: 1, ev: code(1), state: idle}),
		)},
		"KeepAlive restarts after any exit, 10 s apart in whole seconds": {job: launchd.Job{KeepAlive: always}, run: join(
			one(moment{at: 0, ev: event{kind: load}, want: spawn, state: starting}),
			up(0),
			one(moment{at: 2.5, ev: code(0), state: scheduled, due: 10.5, reason: "semaphore"}),
			one(moment{at: 4, ev: event{kind: demand}, state: scheduled, due: 10.5}),
			one(moment{at: 10.5, ev: event{kind: due}, want: spawn, state: starting}),
			up(10.5),
			one(moment{at: 30.5, ev: term, want: spawn, state: starting}),
		)},
		"a throttle of 1 is honoured": {job: launchd.Job{KeepAlive: always, ThrottleInterval: new(1)}, run: join(
			one(moment{at: 0, ev: event{kind: load}, want: spawn, state: starting}),
			one(moment{at: 0.5, ev: code(78), state: scheduled, due: 1.5}),
		)},
		"a throttle of 0 is ignored": {job: launchd.Job{KeepAlive: always, ThrottleInterval: new(0)}, run: join(
			one(moment{at: 0, ev: event{kind: load}, want: spawn, state: starting}),
			one(moment{at: 1, ev: code(1), state: scheduled, due: 10}),
		)},
		"a demand is throttled too": {run: join(
			one(moment{at: 0, ev: event{kind: demand}, want: spawn, state: starting}),
			one(moment{at: 2, ev: code(0), state: idle}),
			one(moment{at: 3, ev: event{kind: demand}, state: scheduled, due: 10, reason: "non-ipc demand"}),
		)},
		"SuccessfulExit=false restarts after failure and signal": {job: launchd.Job{KeepAlive: when(launchd.KeepAliveConditions{SuccessfulExit: new(false)})}, run: join(
			one(moment{at: 0, ev: event{kind: load}, want: spawn, state: starting}),
			one(moment{at: 20, ev: term, want: spawn, state: starting}),
			one(moment{at: 40, ev: code(1), want: spawn, state: starting}),
			one(moment{at: 60, ev: unknown, want: spawn, state: starting}),
			one(moment{at: 80, ev: code(0), state: idle}),
		)},
		"SuccessfulExit=true restarts after 0 only": {job: launchd.Job{KeepAlive: when(launchd.KeepAliveConditions{SuccessfulExit: new(true)})}, run: join(
			one(moment{at: 0, ev: event{kind: load}, want: spawn, state: starting}),
			one(moment{at: 20, ev: code(0), want: spawn, state: starting}),
			one(moment{at: 40, ev: code(1), state: idle}),
		)},
		"Crashed restarts after a crash signal only": {job: launchd.Job{KeepAlive: when(launchd.KeepAliveConditions{Crashed: new(true)})}, run: join(
			one(moment{at: 0, ev: event{kind: load}, want: spawn, state: starting}),
			one(moment{at: 20, ev: segv, want: spawn, state: starting}),
			one(moment{at: 40, ev: term, state: idle}),
		)},
		"AfterInitialDemand waits for a demand": {job: launchd.Job{KeepAlive: when(launchd.KeepAliveConditions{SuccessfulExit: new(false), AfterInitialDemand: new(true)})}, run: join(
			one(moment{at: 0, ev: event{kind: load}, state: idle}),
			one(moment{at: 1, ev: event{kind: demand}, want: spawn, state: starting}),
			one(moment{at: 20, ev: code(1), want: spawn, state: starting}),
			one(moment{at: 40, ev: code(0), state: idle}),
		)},
		"PathState starts and restarts": {job: launchd.Job{KeepAlive: when(launchd.KeepAliveConditions{PathState: map[string]bool{"/p": true}})}, run: join(
			one(moment{at: 0, ev: event{kind: load}, state: idle}),
			one(moment{at: 1, ev: event{kind: world}, state: idle}),
			one(moment{at: 2, ev: event{kind: world, outside: true}, want: spawn, state: starting, reason: "semaphore"}),
			up(2),
			one(moment{at: 3, ev: event{kind: world}, state: running}),
			one(moment{at: 20, ev: code(0), state: idle}),
		)},
		"an empty dictionary waits for a demand": {job: launchd.Job{KeepAlive: when(launchd.KeepAliveConditions{})}, run: join(
			one(moment{at: 0, ev: event{kind: load}, state: idle}),
			one(moment{at: 1, ev: event{kind: demand}, want: spawn, state: starting}),
			one(moment{at: 2, ev: code(1), state: idle}),
		)},
		"StartInterval counts from the exit": {job: launchd.Job{StartInterval: new(60)}, run: join(
			one(moment{at: 0, ev: event{kind: load}, state: idle, due: 60}),
			one(moment{at: 60, ev: event{kind: due}, want: spawn, state: starting, reason: "non-ipc demand"}),
			up(60),
			one(moment{at: 70, ev: code(0), state: idle, due: 130}),
		)},
		"bootout: TERM, 5 s, KILL, gone": {job: launchd.Job{RunAtLoad: new(true), KeepAlive: always}, run: join(
			one(moment{at: 0, ev: event{kind: load}, want: spawn, state: starting}),
			up(0),
			one(moment{at: 1, ev: event{kind: bootout}, want: sendTerm, state: terming, due: 6}),
			one(moment{at: 2, ev: event{kind: bootout}, state: terming, due: 6}),
			one(moment{at: 3, ev: event{kind: demand}, state: terming, due: 6}),
			one(moment{at: 6, ev: event{kind: due}, want: sendKill, state: killed}),
			one(moment{at: 6.1, ev: event{kind: exited, status: exitStatus{bySignal, 9}}, state: gone}),
		)},
		"ExitTimeOut 0 never kills": {job: launchd.Job{ExitTimeOut: new(0)}, run: join(
			one(moment{at: 0, ev: event{kind: demand}, want: spawn, state: starting}),
			one(moment{at: 1, ev: event{kind: bootout}, want: sendTerm, state: terming}),
			one(moment{at: 9000, ev: code(0), state: gone}),
		)},
		"EnableTransactions: KILL at once": {job: launchd.Job{EnableTransactions: new(true)}, run: join(
			one(moment{at: 0, ev: event{kind: demand}, want: spawn, state: starting}),
			up(0),
			one(moment{at: 1, ev: event{kind: halt}, want: sendKill, state: killed}),
			one(moment{at: 1, ev: event{kind: exited, status: exitStatus{bySignal, 9}}, state: idle}),
			one(moment{at: 20, ev: event{kind: demand}, want: spawn, state: starting}),
			one(moment{at: 21, ev: event{kind: bootout}, want: sendKill, state: killed}),
			one(moment{at: 21, ev: event{kind: exited, status: exitStatus{bySignal, 9}}, state: gone}),
		)},
		"LaunchOnlyOnce: one run whatever asks": {job: launchd.Job{LaunchOnlyOnce: new(true), RunAtLoad: new(true), KeepAlive: always, StartInterval: new(30)}, run: join(
			one(moment{at: 0, ev: event{kind: load}, want: spawn, state: starting}),
			up(0),
			one(moment{at: 1, ev: event{kind: restart}, state: running}),
			one(moment{at: 20, ev: code(0), state: idle}),
			one(moment{at: 50, ev: event{kind: due}, state: idle}),
			one(moment{at: 60, ev: event{kind: demand}, state: idle}),
			one(moment{at: 70, ev: event{kind: restart}, state: idle}),
			one(moment{at: 80, ev: event{kind: world, outside: true}, state: idle}),
			one(moment{at: 90, ev: event{kind: bootout}, state: gone}),
		)},
		"bootout without a process is immediate": {job: launchd.Job{KeepAlive: always}, run: join(
			one(moment{at: 0, ev: event{kind: load}, want: spawn, state: starting}),
			one(moment{at: 1, ev: code(1), state: scheduled, due: 10}),
			one(moment{at: 2, ev: event{kind: bootout}, state: gone}),
		)},
		"kickstart -k waits for the old process": {run: join(
			one(moment{at: 0, ev: event{kind: demand}, want: spawn, state: starting}),
			up(0),
			one(moment{at: 20, ev: event{kind: restart}, want: sendTerm, state: terming, due: 25}),
			one(moment{at: 21, ev: event{kind: restart}, state: terming, due: 25}),
			one(moment{at: 25, ev: event{kind: due}, want: sendKill, state: killed}),
			one(moment{at: 25, ev: segv, want: spawn, state: starting}),
		)},
		"bootout overtakes kickstart -k": {run: join(
			one(moment{at: 0, ev: event{kind: demand}, want: spawn, state: starting}),
			one(moment{at: 1, ev: event{kind: restart}, want: sendTerm, state: terming, due: 6}),
			one(moment{at: 2, ev: event{kind: bootout}, state: terming, due: 6}),
			one(moment{at: 3, ev: code(0), state: gone}),
		)},
		"stop leaves what follows to the rules": {job: launchd.Job{KeepAlive: always}, run: join(
			one(moment{at: 0, ev: event{kind: load}, want: spawn, state: starting}),
			up(0),
			one(moment{at: 3, ev: event{kind: halt}, want: sendTerm, state: terming, due: 8}),
			one(moment{at: 4, ev: event{kind: halt}, state: terming, due: 8}),
			one(moment{at: 5, ev: code(0), state: scheduled, due: 10, reason: "semaphore"}),
		)},
		"stop of a job that nothing keeps alive": {run: join(
			one(moment{at: 0, ev: event{kind: halt}, state: idle}),
			one(moment{at: 1, ev: event{kind: demand}, want: spawn, state: starting}),
			one(moment{at: 2, ev: event{kind: halt}, want: sendTerm, state: terming, due: 7}),
			one(moment{at: 7, ev: event{kind: due}, want: sendKill, state: killed}),
			one(moment{at: 8, ev: segv, state: idle}),
			one(moment{at: 20, ev: event{kind: demand}, want: spawn, state: starting}),
			one(moment{at: 21, ev: event{kind: restart}, want: sendTerm, state: terming, due: 26}),
			one(moment{at: 32, ev: code(0), want: spawn, state: starting}),
		)},
		"a demand overtakes stop": {run: join(
			one(moment{at: 0, ev: event{kind: demand}, want: spawn, state: starting}),
			one(moment{at: 1, ev: event{kind: halt}, want: sendTerm, state: terming, due: 6}),
			one(moment{at: 2, ev: event{kind: demand}, state: terming, due: 6}),
			one(moment{at: 20, ev: code(0), want: spawn, state: starting}),
		)},
		"bootout overtakes stop": {run: join(
			one(moment{at: 0, ev: event{kind: demand}, want: spawn, state: starting}),
			one(moment{at: 1, ev: event{kind: halt}, want: sendTerm, state: terming, due: 6}),
			one(moment{at: 2, ev: event{kind: bootout}, state: terming, due: 6}),
			one(moment{at: 3, ev: code(0), state: gone}),
		)},
		"a connection is a demand": {run: join(
			one(moment{at: 0, ev: event{kind: load}, state: idle}),
			one(moment{at: 1, ev: event{kind: demand, reason: "ipc (socket)"}, want: spawn, state: starting, reason: "ipc (socket)"}),
			one(moment{at: 2, ev: segv, state: idle}),
			one(moment{at: 3, ev: event{kind: demand, reason: "ipc (socket)"}, state: scheduled, due: 11, reason: "ipc (socket)"}),
		)},
		"a queue starts and restarts": {job: launchd.Job{QueueDirectories: []string{"/q"}}, run: join(
			one(moment{at: 0, ev: event{kind: load, outside: true}, want: spawn, state: starting, reason: "speculative"}),
			one(moment{at: 1, ev: event{kind: exited, status: exitStatus{Kind: withCode}, outside: true}, state: scheduled, due: 10, reason: "semaphore"}),
			one(moment{at: 10, ev: event{kind: due}, want: spawn, state: starting}),
			one(moment{at: 11, ev: code(0), state: idle}),
			one(moment{at: 30, ev: event{kind: world, outside: true}, want: spawn, state: starting, reason: "semaphore"}),
		)},
		"a label that lingers": {knobs: Knobs{TeardownDelay: 3 * time.Second}, run: join(
			one(moment{at: 0, ev: event{kind: demand}, want: spawn, state: starting}),
			one(moment{at: 1, ev: event{kind: bootout}, want: sendTerm, state: terming, due: 6}),
			one(moment{at: 2, ev: code(0), state: lingering, due: 5}),
			one(moment{at: 5, ev: event{kind: due}, state: gone}),
		)},
		"pended until somebody asks": {job: launchd.Job{KeepAlive: always}, knobs: Knobs{PendSpawns: "speculative"}, run: join(
			one(moment{at: 0, ev: event{kind: load}, state: idle}),
			one(moment{at: 100, ev: event{kind: demand}, want: spawn, state: starting}),
			one(moment{at: 200, ev: code(0), state: idle}),
		)},
	} {
		t.Run(name, func(t *testing.T) {
			epoch := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
			at := func(s float64) time.Time { return epoch.Add(time.Duration(s * float64(time.Second))) }
			r := rulesOf(&c.job, c.knobs)
			l := life{State: idle}
			for i, m := range c.run {
				got := l.step(r, m.ev, at(m.at))
				var wantDue time.Time
				if m.due != 0 {
					wantDue = at(m.due)
				}
				if got != m.want || l.State != m.state || !l.Due.Equal(wantDue) || (m.reason != "" && l.Reason != m.reason) {
					t.Fatalf("step %d at %v s: effect %d, state %q, due %v, reason %q; want %d, %q, %v, %q",
						i, m.at, got, l.State, l.Due, l.Reason, m.want, m.state, wantDue, m.reason)
				}
			}
		})
	}
}

// A clock that was set back makes nobody wait longer than the rules say; one
// that was not changes nothing.
func TestSettle(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)
	r := &rules{throttle: 10 * time.Second, exitTimeout: 5 * time.Second, teardown: 3 * time.Second, interval: time.Minute}
	daily := &rules{calendar: []launchd.CalendarInterval{{Hour: new(3), Minute: new(0)}}}
	for _, c := range []struct {
		state     state
		rules     *rules
		due, want time.Duration // from now; 0 is never
	}{
		{scheduled, r, 4 * time.Second, 4 * time.Second},
		{scheduled, r, time.Hour, 10 * time.Second},
		{terming, r, 5 * time.Second, 5 * time.Second},
		{terming, r, time.Hour, 5 * time.Second},
		{terming, r, 0, 0},
		{lingering, r, time.Hour, 3 * time.Second},
		{idle, r, 0, 0},
		{idle, r, 50 * time.Second, 50 * time.Second},
		{idle, r, time.Hour, time.Minute},
		{idle, r, -time.Hour, -time.Hour},
		{idle, daily, 17*time.Hour + 30*time.Minute, 17*time.Hour + 30*time.Minute},
		{idle, daily, 41*time.Hour + 30*time.Minute, 17*time.Hour + 30*time.Minute},
		{killed, r, 0, 0},
	} {
		l := life{State: c.state}
		if c.due != 0 {
			l.Due = now.Add(c.due)
		}
		l.settle(c.rules, now)
		if got := l.Due; got.IsZero() != (c.want == 0) || (c.want != 0 && got.Sub(now) != c.want) {
			t.Errorf("%s, due %v: %v, want %v", c.state, c.due, got, c.want)
		}
	}
}

func TestNextMatch(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 30, 20, 0, time.UTC) // a Monday
	for _, c := range []struct {
		in   launchd.CalendarInterval
		want string
	}{
		{launchd.CalendarInterval{}, "2026-11-23T09:31:00Z"},
		{launchd.CalendarInterval{Minute: new(30)}, "2026-11-23T10:30:00Z"},
		{launchd.CalendarInterval{Minute: new(30), Hour: new(3), Weekday: new(1)}, "2026-11-30T03:30:00Z"},
		{launchd.CalendarInterval{Minute: new(0), Hour: new(0), Weekday: new(7)}, "2026-11-29T00:00:00Z"},
		{launchd.CalendarInterval{Minute: new(0), Hour: new(0), Weekday: new(0)}, "2026-11-29T00:00:00Z"},
		{launchd.CalendarInterval{Minute: new(0), Hour: new(0), Day: new(1), Weekday: new(3)}, "2026-11-25T00:00:00Z"},
		{launchd.CalendarInterval{Minute: new(0), Hour: new(0), Day: new(29), Month: new(2)}, "2028-02-29T00:00:00Z"},
		{launchd.CalendarInterval{Day: new(30), Month: new(2)}, "0001-01-01T00:00:00Z"},
	} {
		if got := nextMatch(c.in, now).Format(time.RFC3339); got != c.want {
			t.Errorf("%+v: %s, want %s", c.in, got, c.want)
		}
	}
}
