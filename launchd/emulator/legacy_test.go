package emulator_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
)

func TestLegacyVerbs(t *testing.T) {
	t.Parallel()
	b := newBench(t, emulator.Knobs{}, "trap 'echo bye >&3; exit 0' TERM; echo $$ >&3"+forever)
	b.write()
	b.ok("load", b.plist)
	if s := b.print(); s.State != "not running" || s.Path != b.plist {
		t.Fatalf("loaded: state %q, path %q", s.State, s.Path)
	}
	if r := b.code(0, "load", b.plist); !strings.Contains(r.Stderr, "Load failed: 5: Input/output error\n") {
		t.Errorf("load of a loaded job says %q", r.Stderr)
	}
	b.code(3, "stop", b.label)
	b.ok("start", b.label)
	pid := atoi(t, b.next())
	b.ok("start", b.label)
	if s := b.print(); s.PID != pid || s.Runs != 1 {
		t.Errorf("start of a running job: pid %d, was %d, runs %d", s.PID, pid, s.Runs)
	}
	b.ok("stop", b.label)
	if got := b.next(); got != "bye" {
		t.Fatalf("job says %q", got)
	}
	s := b.until("stopped", func(s *launchd.Service) bool { return s.PID == 0 })
	if s.State != "not running" || s.LastExitCode == nil || *s.LastExitCode != 0 {
		t.Errorf("after stop: state %q, last exit %v", s.State, s.LastExitCode)
	}
	b.ok("remove", b.label)
	b.awaitGone()
	b.ok("remove", b.label)
	b.code(3, "start", b.label)
	b.code(3, "stop", b.label)
	if r := b.code(0, "unload", b.plist); !strings.Contains(r.Stderr, "Unload failed: 5: Input/output error\n") {
		t.Errorf("unload of nothing says %q", r.Stderr)
	}
}

func TestStopLetsKeepAliveRestart(t *testing.T) {
	t.Parallel()
	b := newBench(t, emulator.Knobs{}, "echo $$ >&3"+forever)
	b.job.KeepAlive = &launchd.KeepAlive{Always: true}
	b.bootstrap()
	pid := b.next()
	b.ok("stop", b.label)
	if got := b.next(); got == pid {
		t.Fatal("the same process again")
	}
}

func TestLoadAndUnloadKeepTheDisabledSet(t *testing.T) {
	t.Parallel()
	b := newBench(t, emulator.Knobs{}, "")
	b.bootstrap()
	b.ok("unload", "-w", b.plist)
	b.code(113, "print", b.target())
	b.code(5, "bootstrap", gui, b.plist)
	b.ok("load", b.plist)
	b.code(113, "print", b.target())
	b.ok("load", "-F", b.plist)
	b.print()
	b.ok("unload", b.plist)
	b.code(5, "bootstrap", gui, b.plist)
	b.ok("load", "-w", b.plist)
	b.print()
	b.ok("unload", b.plist)
	b.ok("bootstrap", gui, b.plist)
	b.ok("unload", b.plist)
	// Another session type is another domain.
	b.ok("load", "-S", "Background", "-D", "user", b.plist)
	b.code(113, "print", b.target())
	b.ok("print", strings.Replace(b.target(), "gui", "user", 1))
}

func TestADirectoryStandsForItsPlists(t *testing.T) {
	t.Parallel()
	b := newBench(t, emulator.Knobs{}, "")
	dir := filepath.Dir(b.plist)
	b.write()
	first := b.job.Label
	b.job.Label += ".second"
	b.plist = filepath.Join(dir, "second.plist")
	b.write()
	if err := os.WriteFile(filepath.Join(dir, "README.txt"), []byte("no plist"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.ok("bootstrap", gui, dir)
	b.ok("print", gui+"/"+first)
	b.ok("print", gui+"/"+b.job.Label)
	b.code(5, "bootstrap", gui, dir)
	b.ok("bootout", gui, dir)
	b.code(113, "print", gui+"/"+first)
	b.code(113, "print", gui+"/"+b.job.Label)
	b.code(5, "bootout", gui, dir)
}
