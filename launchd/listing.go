package launchd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// A Listing is what launchctl list tells of one label in the caller's domain:
// the old form of [Service], which some systems answer where print does not.
type Listing struct {
	Label            string
	PID              int // 0: no process
	Program          string
	ProgramArguments []string
	// LastExitStatus is that of wait(2), 256 for exit status 1, or nil; see
	// LastExit.
	LastExitStatus *int
	// Values has each value of the top level as it is printed, strings
	// without their quotes, arrays and dictionaries as raw lines.
	Values map[string]string
}

// LastExit is the exit status of the last run, negative for a signal, as in
// [ListEntry]; ok is false if launchctl tells none.
func (l *Listing) LastExit() (status int, ok bool) {
	if l.LastExitStatus == nil {
		return 0, false
	}
	w := syscall.WaitStatus(*l.LastExitStatus) // number takes 31 bits
	switch {
	case w.Exited():
		return w.ExitStatus(), true
	case w.Signaled():
		return -int(w.Signal()), true
	}
	return 0, false
}

// ParseListing reads the output of launchctl list with a label. Keys come in
// any order there, and nothing in a string is escaped.
func ParseListing(data []byte) (*Listing, error) {
	if len(data) > maxOutputBytes {
		return nil, fmt.Errorf("parse listing: larger than %d bytes", maxOutputBytes)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if lines[0] != "{" {
		return nil, errors.New("parse listing: no \"{\" at the start")
	}
	l := &Listing{Values: map[string]string{}}
	for i := 1; i < len(lines); i++ {
		key, value, ok := strings.Cut(strings.TrimPrefix(lines[i], "\t\""), "\" = ")
		if !ok || !strings.HasPrefix(lines[i], "\t\"") {
			continue
		}
		end := map[string]string{"(": "\t);", "{": "\t};"}[value]
		switch {
		case end != "":
			var block []string
			for i++; i < len(lines) && lines[i] != end; i++ {
				block = append(block, lines[i])
			}
			l.Values[key] = strings.Join(block, "\n")
		case strings.HasPrefix(value, `"`):
			// A string may have several lines.
			for !strings.HasSuffix(value, `";`) && i+1 < len(lines) {
				i++
				value += "\n" + lines[i]
			}
			l.Values[key] = strings.TrimSuffix(value[1:], `";`)
		default:
			l.Values[key] = strings.TrimSuffix(value, ";")
		}
	}
	l.Label, l.Program = l.Values["Label"], l.Values["Program"]
	l.PID, _ = number(l.Values["PID"])
	if n, ok := number(l.Values["LastExitStatus"]); ok {
		l.LastExitStatus = &n
	}
	if args := l.Values["ProgramArguments"]; args != "" {
		args = strings.TrimSuffix(strings.TrimPrefix(args, "\t\t\""), `";`)
		l.ProgramArguments = strings.Split(args, "\";\n\t\t\"")
	}
	return l, nil
}

// ListJob tells of one label in the caller's own domain. Print tells more, and
// of any domain.
func (c *Client) ListJob(ctx context.Context, label string) (*Listing, error) {
	if err := CheckLabel(label); err != nil {
		return nil, err
	}
	out, err := c.call(ctx, "list", label, label)
	if err != nil {
		return nil, err
	}
	l, err := ParseListing(out)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	return l, nil
}
