package agents

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/haltonlabs/halton-meter/internal/atomicfile"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
)

// outdatedNote lists the jobs, beside the edge, that run as they were before
// something changed. It is written before the change and outlives a command
// that is cut off in between: the next one would find nothing left to change,
// and the old program at work.
func (p Paths) outdatedNote() string { return p.In("outdated-jobs.json") }

// Outdated are those jobs. What changed takes effect when they are loaded anew.
func Outdated(p Paths) []string {
	var labels []string
	data, err := smallfile.Read(p.outdatedNote(), smallfile.Max)
	if err != nil || json.Unmarshal(data, &labels) != nil {
		return nil
	}
	return slices.DeleteFunc(labels, func(label string) bool { return label != Daemon && label != Watchdog })
}

// MarkOutdated notes that the jobs will be older than their program, their
// plists or the way to the providers. Other labels are none of its business.
func MarkOutdated(p Paths, labels ...string) error {
	have := Outdated(p)
	n := len(have)
	for _, label := range labels {
		if (label == Daemon || label == Watchdog) && !slices.Contains(have, label) {
			have = append(have, label)
		}
	}
	if len(have) == n {
		return nil
	}
	return writeOutdated(p, have)
}

// Renewed forgets a job that has ended: its next run is up to date.
func Renewed(p Paths, label string) error {
	have := Outdated(p)
	if !slices.Contains(have, label) {
		return nil
	}
	return writeOutdated(p, slices.DeleteFunc(have, func(l string) bool { return l == label }))
}

func writeOutdated(p Paths, labels []string) error {
	if len(labels) == 0 {
		if err := os.Remove(p.outdatedNote()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	data, err := json.Marshal(labels)
	if err == nil {
		err = atomicfile.Write(p.outdatedNote(), append(data, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("note the outdated jobs: %w", err)
	}
	return nil
}
