package peer

import (
	"bytes"
	"strings"
)

// lookup finds a variable in an environment block: NAME=value, NUL, and so on.
// Where a name stands twice the first counts, as getenv(3) has it.
func lookup(environ []byte, name string) string {
	for entry := range bytes.SplitSeq(environ, []byte{0}) {
		if value, ok := strings.CutPrefix(string(entry), name+"="); ok {
			return value
		}
	}
	return ""
}
