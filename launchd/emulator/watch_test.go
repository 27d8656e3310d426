package emulator_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
)

func TestAChangedPathStartsTheJob(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(path string) error{
		"a file appears":  func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"a folder's file": func(path string) error { return os.WriteFile(filepath.Join(filepath.Dir(path), "other"), nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "watched")
			b := newBench(t, emulator.Knobs{}, "echo ran >&3; read line <"+os.DevNull+"; exit 0")
			b.job.WatchPaths = []string{dir, path}
			b.bootstrap()
			if s := b.print(); s.Runs != 0 {
				t.Fatalf("started at load: runs %d", s.Runs)
			}
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			b.next()
			if s := b.until("over", func(s *launchd.Service) bool { return s.PID == 0 }); s.Runs != 1 || s.ImmediateReason != "" {
				t.Fatalf("runs %d, reason %q", s.Runs, s.ImmediateReason)
			}
		})
	}
}

// A change while the job runs is not lost.
func TestAPathChangesWhileTheJobRuns(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "watched")
	b := newBench(t, emulator.Knobs{}, "echo ran >&3; while ! test -e "+path+".go; do sleep 0.1; done")
	b.job.WatchPaths = []string{path}
	b.bootstrap()
	b.ok("kickstart", b.target())
	b.next()
	for _, p := range []string{path, path + ".go"} {
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.next()
}

func TestAQueueKeepsTheJobAlive(t *testing.T) {
	t.Parallel()
	queue := t.TempDir()
	// It works off one entry per run.
	b := newBench(t, emulator.Knobs{}, "for f in "+queue+"/*; do rm $f; echo $(basename $f) >&3; exit 0; done")
	b.job.QueueDirectories = []string{queue}
	b.bootstrap()
	for _, name := range []string{"1", "2", "3"} {
		if err := os.WriteFile(filepath.Join(queue, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"1", "2", "3"} {
		if got := b.next(); got != name {
			t.Fatalf("job took %q, want %q", got, name)
		}
	}
	s := b.until("over", func(s *launchd.Service) bool { return s.State == "not running" })
	if s.Runs != 3 {
		t.Errorf("runs %d", s.Runs)
	}
}
