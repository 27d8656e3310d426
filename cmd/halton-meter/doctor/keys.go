package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/haltonlabs/halton-meter/internal/secret"
)

// keys looks at the secrets that our processes share: without the edge's key
// nobody knows the edge from a stranger, without the token nobody may write to
// the daemon's API.
func (p *Patient) keys(context.Context) Finding {
	for _, path := range []string{p.Paths.EdgeKey(), p.Paths.Token()} {
		_, err := secret.Read(path)
		// Both read it when they start.
		renew := []Command{meter(Stop, "stop"), meter(Install, "init"), meter(Start, "start")}
		switch {
		case err == nil, errors.Is(err, fs.ErrPermission):
			// What the owner may not read is told already.
		case errors.Is(err, fs.ErrNotExist):
			return mend(Broken, path+" is missing", renew...)
		case errors.Is(err, secret.ErrDamaged):
			return mend(Broken, path+" holds no key", append([]Command{{Argv: []string{"mv", path, aside(path)}}}, renew...)...)
		}
	}
	return p.keysOfOld()
}

// keysOfOld finds a daemon that started before its keys were made: it proves
// itself with those of before, and the edge takes it for a stranger.
func (p *Patient) keysOfOld() Finding {
	rec, err := p.record()
	if err == nil && rec.Live() {
		for _, path := range []string{p.Paths.EdgeKey(), p.Paths.Token()} {
			if p.writtenSince(path) {
				return mend(Broken, fmt.Sprintf("%s was written after the daemon (process %d) had read it: the edge does not know it", path, rec.PID),
					meter(Stop, "stop"), meter(Start, "start"))
			}
		}
	}
	return ok("edge-key, api-token")
}

// writtenSince reports whether a file was written after the daemon that runs
// had read it: at its start it records its ports, and reads nothing after that.
func (p *Patient) writtenSince(path string) bool {
	then, err := os.Stat(p.Paths.Ports())
	if err != nil {
		return false
	}
	st, err := os.Stat(path)
	return err == nil && st.ModTime().After(then.ModTime())
}
