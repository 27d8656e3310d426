package meter

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// learnedFor is how long a program's refusal of our certificate counts.
	// After it the program is tried again: its user may have mended its trust.
	learnedFor = time.Hour
	// guessesToLearn is how often in a row a program must leave without a
	// word before that counts as a refusal: one that opens connections ahead
	// of its need does so too.
	guessesToLearn = 3
	// maxLessons is far above the number of programs that a user has.
	maxLessons = 256
)

// learned knows which programs do not trust our certificate for which host. A
// program that pins certificates or brings its own roots cannot be metered;
// its tunnels are refused, so that the edge takes them past us.
type learned struct {
	mu      sync.Mutex
	lessons map[lessonKey]*lesson

	file *lessonFile // nil: nothing survives a restart
}

type lessonKey struct{ host, program string }

type lesson struct {
	guesses int
	until   time.Time
}

// rejected notes that the program refused our certificate for the host; sure
// if it said so. It reports whether the program passes from now on.
func (l *learned) rejected(host, program string, sure bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lessons == nil {
		l.lessons = map[lessonKey]*lesson{}
	}
	key := lessonKey{host, program}
	le := l.lessons[key]
	if le == nil {
		l.makeRoom()
		le = &lesson{}
		l.lessons[key] = le
	}
	le.guesses++
	if !sure && le.guesses < guessesToLearn {
		return false
	}
	le.until = time.Now().Add(learnedFor)
	l.save()
	return true
}

// makeRoom forgets a lesson if there are too many: the one that would be
// forgotten first.
func (l *learned) makeRoom() {
	if len(l.lessons) < maxLessons {
		return
	}
	first := lessonKey{}
	for key, le := range l.lessons {
		if f := l.lessons[first]; f == nil || le.until.Before(f.until) {
			first = key
		}
	}
	delete(l.lessons, first)
}

// trusted notes that the program took our certificate for the host.
func (l *learned) trusted(host, program string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := lessonKey{host, program}
	le := l.lessons[key]
	delete(l.lessons, key)
	if le != nil && !le.until.IsZero() {
		l.save()
	}
}

// passes reports whether the program's tunnels to the host go past us.
func (l *learned) passes(host, program string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	le := l.lessons[lessonKey{host, program}]
	return le != nil && time.Now().Before(le.until)
}

// knows reports whether any program's tunnels to the host go past us, so that
// it matters whose a new one is.
func (l *learned) knows(host string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, le := range l.lessons {
		if key.host == host && time.Now().Before(le.until) {
			return true
		}
	}
	return false
}

// list says which programs pass unmetered, for people.
func (l *learned) list() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for key, le := range l.lessons {
		if !time.Now().Before(le.until) {
			continue
		}
		program := key.program
		if program == "" {
			program = "a program that could not be identified"
		}
		out = append(out, fmt.Sprintf("%s does not trust the meter's certificate for %s, and passes unmetered until %s",
			program, key.host, le.until.Local().Format(time.TimeOnly)))
	}
	slices.Sort(out)
	return out
}
