package launchd

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ParseDisabled reads the output of launchctl print-disabled: the labels that
// somebody enabled or disabled, and whether they are disabled. A label that is
// not among them is enabled, unless its plist says otherwise.
func ParseDisabled(data []byte) (map[string]bool, error) {
	if len(data) > maxOutputBytes {
		return nil, fmt.Errorf("parse disabled services: larger than %d bytes", maxOutputBytes)
	}
	var out map[string]bool
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if out == nil {
			if line == "disabled services = {" {
				out = map[string]bool{}
			}
			continue
		}
		// Another block, of login items, may follow; it lists other things.
		if line == "}" {
			return out, nil
		}
		// A label may itself contain `" =>`.
		i := strings.LastIndex(line, `" => `)
		if i < 1 || line[0] != '"' {
			continue
		}
		switch line[i+len(`" => `):] {
		case "disabled", "true":
			out[line[1:i]] = true
		case "enabled", "false":
			out[line[1:i]] = false
		}
	}
	if out == nil {
		return nil, errors.New("parse disabled services: no line \"disabled services = {\"")
	}
	return out, nil
}

// A ListEntry is a line of launchctl list.
type ListEntry struct {
	Label string
	PID   int // 0: no process
	// Status is the exit status of the last run, negative for a signal, or
	// nil if launchctl has none.
	Status *int
}

// ParseList reads the output of launchctl list without a label.
func ParseList(data []byte) ([]ListEntry, error) {
	if len(data) > maxOutputBytes {
		return nil, fmt.Errorf("parse list: larger than %d bytes", maxOutputBytes)
	}
	header, rest, _ := strings.Cut(string(data), "\n")
	if strings.TrimRight(header, " \r") != "PID\tStatus\tLabel" {
		return nil, errors.New("parse list: no header PID, Status, Label")
	}
	out := []ListEntry{}
	for line := range strings.Lines(rest) {
		cols := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
		if len(cols) < 3 || cols[2] == "" {
			continue
		}
		out = append(out, listEntry(cols[0], cols[1], cols[2]))
	}
	return out, nil
}

func listEntry(pid, status, label string) ListEntry {
	e := ListEntry{Label: label}
	e.PID, _ = number(pid)
	if n, err := strconv.Atoi(status); err == nil {
		e.Status = &n
	}
	return e
}
