package portalloc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haltonlabs/halton-meter/internal/atomicfile"
	"github.com/haltonlabs/halton-meter/internal/process"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
)

// ErrCorrupt means that a state file is there and is not a record.
var ErrCorrupt = errors.New("not a port record")

// maxRecord is far above any record (a name has 64 bytes at most) and small
// enough to read without a thought.
const maxRecord = 16 << 10

const portSuffix = "_port"

// validProcess is far wider than what process.ID returns, and fits for a log.
func validProcess(id string) bool {
	return id != "" && len(id) <= 200 && !strings.ContainsFunc(id, func(r rune) bool { return r < '!' || r > '~' })
}

// Record is the content of a state file: the chosen ports and their owner.
//
// Its JSON form is one flat object, with "<name>_port" for each port, "pid",
// "started_at" (RFC 3339) and, if it is known, "process". Decoding is strict: an unknown, repeated or
// missing key, a fraction, a number out of range or a port given to two names
// is an error.
type Record struct {
	// Ports are the ports by name. 0 means not known yet.
	Ports map[string]int
	// PID is the process that negotiated last, 0 if none has yet.
	PID int
	// StartedAt is when that process was started, for people to read.
	StartedAt time.Time
	// Process tells that process from a later one that got its number,
	// whatever becomes of the wall clock. Empty: StartedAt must do, which on
	// Linux moves when the clock is set.
	Process string
}

// Live reports whether the process that the record names still runs. A record
// that is not live is a memory: what listens on its ports now is a stranger.
func (r Record) Live() bool {
	if r.PID != 0 && r.Process != "" {
		return process.Is(r.PID, r.Process)
	}
	return r.PID != 0 && process.Lives(r.PID, r.StartedAt)
}

// ReadRecord reads the record at path. The error is [os.ErrNotExist] if there
// is no file, and [ErrCorrupt] if it holds anything but a record.
func ReadRecord(path string) (Record, error) {
	data, err := smallfile.Read(path, maxRecord)
	if errors.Is(err, smallfile.ErrNotRegular) || errors.Is(err, smallfile.ErrTooLarge) {
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if err != nil {
		return Record{}, fmt.Errorf("read ports: %w", err)
	}
	var r Record
	if err := r.UnmarshalJSON(data); err != nil {
		return Record{}, fmt.Errorf("read ports: %s: %w", path, err)
	}
	return r, nil
}

// Write replaces the file at path with the record, at once, mode 0600. On a
// full disk it writes into the blocks that the file has: a program that cannot
// tell its ports is of no use, and a reader of half a record gets [ErrCorrupt].
func (r Record) Write(path string) error {
	data, err := r.MarshalJSON()
	if err != nil {
		return fmt.Errorf("write ports: %w", err)
	}
	data = append(data, '\n')
	err = atomicfile.Write(path, data, 0o600)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		if overwrite(path, data) == nil {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("write ports: %w", err)
	}
	return nil
}

// overwrite is one write into a file of ours that is there. What is left of a
// longer content becomes white space, which JSON allows at the end.
func overwrite(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return err
	case !st.Mode().IsRegular() || st.Mode().Perm()&0o077 != 0 || st.Size() > maxRecord:
		return fmt.Errorf("%s is none of ours", path)
	}
	if rest := int(st.Size()) - len(data); rest > 0 {
		data = append(data, bytes.Repeat([]byte{'\n'}, rest)...)
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	return f.Sync()
}

// MarshalJSON encodes the record; it fails on what UnmarshalJSON would refuse.
func (r Record) MarshalJSON() ([]byte, error) {
	fields := map[string]any{"pid": r.PID, "started_at": r.StartedAt}
	if r.Process != "" {
		fields["process"] = r.Process
	}
	for name, port := range r.Ports {
		fields[name+portSuffix] = port
	}
	data, err := json.MarshalIndent(fields, "", "  ")
	if err != nil {
		return nil, err
	}
	return data, new(Record).UnmarshalJSON(data)
}

// UnmarshalJSON decodes a record strictly; see [Record].
func (r *Record) UnmarshalJSON(data []byte) error {
	if len(data) > maxRecord {
		return fmt.Errorf("%w: larger than %d bytes", ErrCorrupt, maxRecord)
	}
	// encoding/json keeps the last of two equal keys and matches names
	// without regard to case, so the tokens are read one by one.
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return fmt.Errorf("%w: not an object", ErrCorrupt)
	}
	out := Record{Ports: map[string]int{}}
	seen := map[string]bool{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		name, ok := key.(string)
		if !ok || seen[name] {
			return fmt.Errorf("%w: %q stands twice", ErrCorrupt, key)
		}
		seen[name] = true
		value, err := dec.Token()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		if err := out.set(name, value); err != nil {
			return fmt.Errorf("%w: %q: %w", ErrCorrupt, name, err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows the object", ErrCorrupt)
	}
	if !seen["pid"] || !seen["started_at"] {
		return fmt.Errorf("%w: no pid or no started_at", ErrCorrupt)
	}
	if err := out.distinct(); err != nil {
		return err
	}
	*r = out
	return nil
}

func (r *Record) set(key string, value json.Token) error {
	if key == "started_at" || key == "process" {
		s, ok := value.(string)
		switch {
		case !ok:
			return errors.New("not a string")
		case key == "started_at":
			return r.StartedAt.UnmarshalText([]byte(s))
		case !validProcess(s):
			return errors.New("names no process")
		}
		r.Process = s
		return nil
	}
	number, ok := value.(json.Number)
	if !ok {
		return errors.New("not a number")
	}
	if key == "pid" {
		pid, err := strconv.ParseUint(number.String(), 10, 31)
		r.PID = int(pid)
		return err
	}
	name, ok := strings.CutSuffix(key, portSuffix)
	if !ok || !validName(name) {
		return errors.New("unknown key")
	}
	port, err := strconv.ParseUint(number.String(), 10, 16)
	r.Ports[name] = int(port)
	return err
}

func (r *Record) distinct() error {
	owner := map[int]string{}
	for name, port := range r.Ports {
		if other, ok := owner[port]; ok && port != 0 {
			return fmt.Errorf("%w: %q and %q have the same port", ErrCorrupt, other, name)
		}
		owner[port] = name
	}
	return nil
}

// own makes the record one of this process.
func (r *Record) own() {
	r.PID = os.Getpid()
	started, err := process.StartTime(r.PID)
	if err != nil {
		// No /proc, say. Live needs the same answer and will not find it
		// either, so readers fall back to treating the record as stale.
		started = time.Now()
	}
	r.StartedAt = started.UTC()
	if r.Process, err = process.ID(r.PID); err != nil {
		r.Process = ""
	}
}
