package emulator

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/haltonlabs/halton-meter/launchd"
)

// TestLifeKeepsItsPromises throws random events at random jobs. A process
// exists from spawned to exited, as in the supervisor.
func TestLifeKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		job := launchd.Job{
			RunAtLoad:        rapid.Ptr(rapid.Bool(), true).Draw(t, "RunAtLoad"),
			ThrottleInterval: rapid.Ptr(rapid.IntRange(0, 12), true).Draw(t, "ThrottleInterval"),
			ExitTimeOut:      rapid.Ptr(rapid.IntRange(0, 8), true).Draw(t, "ExitTimeOut"),
			StartInterval:    rapid.Ptr(rapid.IntRange(1, 30), true).Draw(t, "StartInterval"),
		}
		if rapid.Bool().Draw(t, "KeepAlive") {
			job.KeepAlive = &launchd.KeepAlive{Always: true}
		}
		r := rulesOf(&job, Knobs{TeardownDelay: time.Duration(rapid.IntRange(0, 1).Draw(t, "TeardownDelay")) * time.Second})

		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		l := life{State: idle}
		var lastSpawn, termAt time.Time
		process, pid, booted := false, 0, false
		step := func(ev event) {
			before := l
			effect := l.step(r, ev, now)
			switch effect {
			case spawn:
				if process {
					t.Fatalf("a second process: %+v", before)
				}
				if ran := now.Sub(lastSpawn); !lastSpawn.IsZero() && ran.Truncate(time.Second) < r.throttle {
					t.Fatalf("spawned %v after the last spawn, throttle %v", ran, r.throttle)
				}
				if booted {
					t.Fatalf("spawned after bootout: %+v", before)
				}
				lastSpawn = now
				pid++
				process = true
				l.step(r, event{kind: spawned, pid: pid}, now)
			case sendTerm:
				termAt = now
			case sendKill:
				if now.Sub(termAt) < r.exitTimeout || r.exitTimeout == 0 {
					t.Fatalf("SIGKILL %v after SIGTERM, exit timeout %v", now.Sub(termAt), r.exitTimeout)
				}
			}
			if process != (l.PID != 0) {
				t.Fatalf("process %v, life %+v", process, l)
			}
			if l.State == gone && process {
				t.Fatalf("the label is free while the process lives: %+v", l)
			}
		}
		step(event{kind: load})
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "ms")) * time.Millisecond)
			kinds := []eventKind{demand, restart, world}
			if rapid.IntRange(0, 9).Draw(t, "bootout") == 0 {
				booted = true
				step(event{kind: bootout})
				continue
			}
			if process {
				kinds = append(kinds, execed, exited, exited)
			}
			if !l.Due.IsZero() && !now.Before(l.Due) {
				kinds = []eventKind{due}
			}
			ev := event{kind: rapid.SampledFrom(kinds).Draw(t, "event")}
			if ev.kind == exited {
				process = false
				ev.status = exitStatus{withCode, rapid.IntRange(0, 1).Draw(t, "code")}
			}
			step(ev)
		}
	})
}
