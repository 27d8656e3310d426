package term

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// Steps prints one aligned line for each step that is done. On a terminal the
// lines stand in a panel, and the step at work shows its elapsed time.
type Steps struct {
	out    *os.File
	styles Styles
	width  int

	mu    sync.Mutex
	lines []string
	stop  func()
}

// NewSteps prints to out; width is the length of the longest step's name.
func NewSteps(out *os.File, width int) *Steps {
	return &Steps{out: out, styles: StylesFor(out), width: width}
}

// Waiting shows that a step is at work until the next call. It is shown on a
// terminal only, since elsewhere it could not be taken back.
func (s *Steps) Waiting(what string) {
	s.clear()
	if !s.styles.fancy {
		return
	}
	began := time.Now()
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			fmt.Fprintf(s.out, "\r\x1b[K%s", s.styles.Faint(fmt.Sprintf("… %s  %.1f s", what, time.Since(began).Seconds())))
			select {
			case <-done:
				fmt.Fprint(s.out, "\r\x1b[K")
				return
			case <-tick.C:
			}
		}
	})
	s.mu.Lock()
	s.stop = func() { close(done); wg.Wait() }
	s.mu.Unlock()
}

// Done reports a step that is done.
func (s *Steps) Done(what, detail string) {
	s.add(s.styles.Good("✓"), what, detail)
}

// Failed reports a step that is not.
func (s *Steps) Failed(what, detail string) {
	s.add(s.styles.Bad("✗"), what, detail)
}

// Close ends the output; on a terminal it prints the panel.
func (s *Steps) Close() {
	s.clear()
	if s.styles.fancy && len(s.lines) > 0 {
		fmt.Fprintln(s.out, s.styles.Panel(strings.Join(s.lines, "\n")))
	}
	s.lines = nil
}

func (s *Steps) add(mark, what, detail string) {
	s.clear()
	line := strings.TrimRight(fmt.Sprintf("%s %-*s  %s", mark, s.width, what, detail), " ")
	if s.styles.fancy {
		s.lines = append(s.lines, line)
		return
	}
	fmt.Fprintln(s.out, line)
}

func (s *Steps) clear() {
	s.mu.Lock()
	stop := s.stop
	s.stop = nil
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
}
