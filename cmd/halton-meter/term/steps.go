package term

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"charm.land/lipgloss/v2"
	"golang.org/x/term"
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
			text := fmt.Sprintf("… %s  %.1f s", what, time.Since(began).Seconds())
			fmt.Fprintf(s.out, "\r\x1b[K%s", s.styles.Faint(cut(text, columns(s.out))))
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

// Line prints a line of its own, outside of the panel, at once.
func (s *Steps) Line(text string) {
	s.clear()
	fmt.Fprintln(s.out, text)
}

// Warn prints a warning, without what is shown of a step at work.
func (s *Steps) Warn(format string, args ...any) {
	s.clear()
	Warn(os.Stderr, format, args...)
}

// Close ends the output; on a terminal it prints the panel, if that is wide
// enough for it.
func (s *Steps) Close() {
	s.clear()
	if s.styles.fancy && len(s.lines) > 0 {
		text := strings.Join(s.lines, "\n")
		if panel := s.styles.Panel(text); lipgloss.Width(panel) <= columns(s.out) {
			text = panel
		}
		fmt.Fprintln(s.out, text)
	}
	s.lines = nil
}

// columns is how wide the terminal is.
func columns(f *os.File) int {
	if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
		return width
	}
	return 80
}

// cut makes text fit a line: what has gone on to the next one could not be
// taken back.
func cut(text string, columns int) string {
	if r := []rune(text); len(r) >= columns {
		return string(r[:max(columns-1, 0)])
	}
	return text
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
