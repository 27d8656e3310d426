// Package term is how the commands speak: one line a step with a check mark,
// errors with the next thing to type, and on a terminal, colour and a line
// that counts the time while something is waited for.
package term

import (
	"fmt"
	"io"
	"os"

	"charm.land/lipgloss/v2"
	"golang.org/x/term"
)

// Error prints err and, if there is one, what to type next.
func Error(w io.Writer, err error, hint string) {
	fmt.Fprintf(w, "error: %v\n", err)
	if hint != "" {
		fmt.Fprintf(w, "hint: %s\n", hint)
	}
}

// Warn prints a warning.
func Warn(w io.Writer, format string, args ...any) {
	fmt.Fprintf(w, "warning: "+format+"\n", args...)
}

// Fancy reports whether f is a terminal on which colour is wanted.
// NO_COLOR is the convention of no-color.org: any value that is not empty.
func Fancy(f *os.File) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// Styles colour what is printed. The zero value leaves text as it is.
type Styles struct{ fancy bool }

// StylesFor are the styles for what f is.
func StylesFor(f *os.File) Styles { return Styles{fancy: Fancy(f)} }

// Good is for what went well.
func (s Styles) Good(text string) string { return s.colour("2", text) }

// Bad is for what did not.
func (s Styles) Bad(text string) string { return s.colour("1", text) }

// Faint is for what matters less.
func (s Styles) Faint(text string) string {
	if !s.fancy {
		return text
	}
	return lipgloss.NewStyle().Faint(true).Render(text)
}

// Panel frames text; without colour it is returned as it is.
func (s Styles) Panel(text string) string {
	if !s.fancy {
		return text
	}
	return lipgloss.NewStyle().Border(lipgloss.RoundedBorder()).BorderForeground(lipgloss.Color("8")).Padding(0, 1).Render(text)
}

func (s Styles) colour(code, text string) string {
	if !s.fancy {
		return text
	}
	return lipgloss.NewStyle().Foreground(lipgloss.Color(code)).Render(text)
}
