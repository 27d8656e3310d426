package emulator_test

import (
	"fmt"
	"strings"
)

// model is what launchd.plist(5) and launchctl(1) say about one job, with a
// clock of whole seconds.
type model struct {
	runAtLoad, always, onFailure bool
	throttle, exitTimeout        int
	interval                     int // 0: none
	stubborn                     bool

	now       int
	disabled  bool
	state     string // as print has it; "" is not loaded
	next      string // what follows when a process that was told to end has
	runs      int
	spawnedAt int
	due       int
	hasDue    bool
}

const (
	resting   = "not running"
	scheduled = "spawn scheduled"
	up        = "running"
	ending    = "SIGTERMed"
)

func (m *model) hasProcess() bool { return m.state == up || m.state == ending }

func (m *model) wait(state string, seconds int) {
	m.state, m.due, m.hasDue = state, m.now+seconds, true
}

func (m *model) spawn() {
	m.state, m.hasDue, m.spawnedAt = up, false, m.now
	m.runs++
}

// start respects the throttle, which counts from the last spawn.
func (m *model) start() {
	ran := max(0, m.now-m.spawnedAt)
	if m.runs == 0 || ran >= m.throttle {
		m.spawn()
		return
	}
	m.wait(scheduled, m.throttle-ran)
}

func (m *model) rest() {
	m.state, m.hasDue = resting, false
	if m.interval > 0 {
		m.wait(resting, m.interval)
	}
}

// end is SIGTERM. Who obeys is gone before anybody can look.
func (m *model) end(next string) {
	m.next = next
	m.wait(ending, m.exitTimeout)
	if !m.stubborn {
		m.exited()
	}
}

// exited is the death of the process, always by a signal here.
func (m *model) exited() {
	next := m.next
	m.next, m.hasDue = "", false
	switch {
	case next == "remove":
		m.state = ""
	case next == "respawn", m.always, m.onFailure:
		m.start()
	default:
		m.rest()
	}
}

// launchctl is the exit code of a command, and its effect.
func (m *model) launchctl(verb string) int {
	switch {
	case verb == "enable", verb == "disable":
		m.disabled = verb == "disable"
		return 0
	case verb == "bootstrap":
		if m.state != "" || m.disabled {
			return 5
		}
		m.runs = 0
		if m.runAtLoad || m.always || m.onFailure {
			m.start()
		} else {
			m.rest()
		}
		return 0
	case m.state == "":
		return map[string]int{"bootout": 3, "kickstart": 113, "kickstart -k": 113, "start": 3, "stop": 3, "kill KILL": 113}[verb]
	}
	switch verb {
	case "bootout":
		switch m.state {
		case up:
			m.end("remove")
		case ending:
			m.next = "remove"
		default:
			m.state, m.hasDue = "", false
		}
	case "kickstart", "kickstart -k", "start":
		switch {
		case m.state == resting:
			m.start()
		case m.state == up && verb == "kickstart -k":
			m.end("respawn")
		case m.next == "remove" && verb != "start":
			return 37
		case m.state == ending && m.next != "remove":
			m.next = "respawn"
		}
	case "stop":
		if !m.hasProcess() {
			return 3
		}
		if m.state == up {
			m.end("rules")
		}
	case "kill KILL":
		if !m.hasProcess() {
			return 3
		}
		m.exited()
	}
	return 0
}

// setClock moves the clock, also backwards, and then does what is due.
func (m *model) setClock(now int) {
	back := now < m.now
	m.now = now
	if back && m.hasDue {
		longest := map[string]int{resting: m.interval, scheduled: m.throttle, ending: m.exitTimeout}[m.state]
		m.due = min(m.due, now+longest)
	}
	for m.hasDue && m.now >= m.due {
		switch m.state {
		case resting:
			m.start()
		case scheduled:
			m.spawn()
		case ending: // SIGKILL
			m.exited()
		}
	}
}

func (m *model) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "state %q, runs %d", m.state, m.runs)
	if m.hasDue {
		fmt.Fprintf(&s, ", due in %d s", m.due-m.now)
	}
	return s.String()
}
