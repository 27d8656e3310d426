package agents

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/haltonlabs/halton-meter/internal/atomicfile"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
)

// stopValid is how long after a stop a daemon that something starts by the
// way (a login, an old shell) stays down.
const stopValid = 30 * time.Second

// WriteStop leaves the graceful-shutdown sentinel.
func WriteStop(p Paths, now time.Time) error {
	return atomicfile.Write(p.GracefulShutdown(), []byte(now.UTC().Format(time.RFC3339Nano)+"\n"), 0o600)
}

// ClearStop removes the sentinel; there may be none.
func ClearStop(p Paths) error {
	if err := os.Remove(p.GracefulShutdown()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Stopped reports whether a stop forbids the daemon to run at now, and for
// how much longer. A sentinel from the future is worth nothing: the clock was
// set back, and nobody would know when it ends.
func Stopped(p Paths, now time.Time) (left time.Duration, stopped bool) {
	at, ok := LastStop(p)
	if !ok {
		return 0, false
	}
	age := now.Sub(at)
	if age < 0 || age >= stopValid {
		return 0, false
	}
	return stopValid - age, true
}

// LastStop is when the last stop was, if no start came after it.
func LastStop(p Paths) (at time.Time, ok bool) {
	b, err := smallfile.Read(p.GracefulShutdown(), smallfile.Max)
	if err != nil {
		return time.Time{}, false
	}
	at, err = time.Parse(time.RFC3339Nano, strings.TrimSuffix(string(b), "\n"))
	return at, err == nil
}
