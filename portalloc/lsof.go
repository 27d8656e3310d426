package portalloc

import (
	"strconv"
	"strings"
	"unicode"
)

// parseLsof reads the output of lsof -F (lsof(8), "output for other
// programs"): a letter and a value a line; p, c and u describe the process of
// the n lines that follow.
func parseLsof(out []byte) map[int]Holder {
	found := map[int]Holder{}
	var h Holder
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		value := line[1:]
		switch line[0] {
		case 'p':
			pid, err := strconv.Atoi(value)
			if err != nil {
				pid = 0
			}
			h = Holder{PID: pid}
		case 'c':
			h.Command = printable(value)
		case 'u':
			h.User = value
		case 'n':
			addr, digits, _ := cutLast(value, ":")
			port, err := strconv.ParseUint(digits, 10, 16)
			local := addr == "*" || addr == "[::1]" || strings.HasPrefix(addr, "127.")
			if err != nil || !local || h.PID <= 0 {
				continue
			}
			if _, ok := found[int(port)]; !ok {
				found[int(port)] = h
			}
		}
	}
	return found
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// printable keeps a process, which chooses its own name, from writing control
// characters to the user's terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
