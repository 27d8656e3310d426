package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
)

// installation tells a machine without the meter from a half-made one.
func (p *Patient) installation(context.Context) Finding {
	var plists []string
	for _, label := range agents.Labels {
		if _, err := os.Stat(p.Paths.Plist(label)); err == nil {
			plists = append(plists, agents.ShortName(label))
		}
	}
	mode := p.Paths.Mode()
	switch {
	case mode == "" && len(plists) == 0:
		p.absent = true
		return mend(Broken, "nothing is installed: no install mode in "+p.Paths.State+" and no launch agents", meter(Install, "init"))
	case mode == "":
		return mend(Broken, "half of an installation: launch agents for "+strings.Join(plists, ", ")+", and no install mode", meter(Install, "init"), meter(Start, "start"))
	case !agents.KnownMode(mode):
		return mend(Broken, fmt.Sprintf("%s says %q, which is no mode", p.Paths.InstallMode(), mode), meter(Install, "init"))
	}
	return ok("mode " + mode)
}

func (p *Patient) stateDirectory(context.Context) Finding {
	dir := p.Paths.State
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return mend(Broken, dir+" is missing", meter(Install, "init"), meter(Start, "start"))
	case err != nil:
		return advise(Broken, err.Error(), "look at "+dir)
	case !st.IsDir():
		return advise(Broken, dir+" is not a directory", "move it away, then halton-meter init")
	}
	probe, err := os.CreateTemp(dir, ".doctor-")
	if err == nil {
		probe.Close()
		err = os.Remove(probe.Name())
	}
	switch {
	case errors.Is(err, unix.EROFS):
		return advise(Broken, dir+" is on a file system that is mounted read-only: nothing can be metered", "mount it for writing, or set HALTON_METER_HOME to another directory and run halton-meter init")
	case errors.Is(err, fs.ErrPermission):
		return mend(Broken, dir+" cannot be written: nothing can be metered", Command{Argv: []string{"chmod", "0700", dir}})
	case errors.Is(err, unix.ENOSPC):
		return ok(dir) // the disk has a check of its own
	case err != nil:
		return advise(Broken, err.Error(), "look at "+dir)
	}
	return ok(dir)
}

// permissions looks at what must be its owner's alone. The daemon refuses a
// key that others can read.
func (p *Patient) permissions(context.Context) Finding {
	var loose []string
	var fix []Command
	verdict := Healthy
	look := func(path string, mode fs.FileMode, v Verdict) {
		st, err := os.Lstat(path)
		if err != nil {
			return // whether it must be there is another check's question
		}
		if extra := st.Mode().Perm() &^ mode; extra != 0 {
			loose = append(loose, fmt.Sprintf("%s is %04o, not %04o", path, st.Mode().Perm(), mode))
			fix = append(fix, Command{Argv: []string{"chmod", fmt.Sprintf("%04o", mode), path}})
			if v.rank() > verdict.rank() {
				verdict = v
			}
		}
	}
	look(p.Paths.State, 0o700, Inconsistent)
	look(p.Paths.EdgeKey(), 0o600, Broken)
	look(p.Paths.Token(), 0o600, Broken)
	look(p.Paths.CA(), 0o700, Inconsistent)
	look(filepath.Join(p.Paths.CA(), "ca-key.pem"), 0o600, Broken)
	for _, label := range agents.Labels {
		look(p.Paths.Plist(label), 0o644, Broken) // launchd refuses it
	}
	if len(loose) == 0 {
		return ok("keys are readable by you alone")
	}
	if verdict == Broken {
		// A daemon that refused a key is down.
		fix = append(fix, meter(Start, "start"))
	}
	return mend(verdict, strings.Join(loose, "; "), fix...)
}

// lowDisk is when a warning is due: the ledger of a busy month, with its log.
const lowDisk = 64 << 20

func (p *Patient) disk(context.Context) Finding {
	var st unix.Statfs_t
	if err := unix.Statfs(p.Paths.State, &st); err != nil {
		return ok("not known: " + err.Error())
	}
	free := int64(st.Bavail) * int64(st.Bsize) //nolint:unconvert // the types differ between systems
	switch mb := fmt.Sprintf("%d MB free", free>>20); {
	case free < 1<<20:
		return advise(Broken, "the disk of "+p.Paths.State+" is full: rows go to the journal's reserve, then only to memory", "free some space; the daemon goes on by itself")
	case free < lowDisk:
		return advise(Inconsistent, mb+" for the ledger", "free some space")
	default:
		return ok(mb)
	}
}

// clock finds a clock that was set back: rows would be filed under the wrong
// day, and leaves be not valid yet.
func (p *Patient) clock(context.Context) Finding {
	now := p.Now()
	for _, path := range []string{p.Paths.InstallMode(), p.Paths.Ports(), filepath.Join(p.Paths.CA(), "ca.pem")} {
		if st, err := os.Stat(path); err == nil && st.ModTime().After(now.Add(time.Hour)) {
			return advise(Inconsistent, fmt.Sprintf("%s was written at %s, and now is %s: the clock was set back", path, st.ModTime().UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)), "set the clock; if it is right now, halton-meter init writes these files anew")
		}
	}
	return ok(now.UTC().Format(time.RFC3339))
}

func (p *Patient) configuration(context.Context) Finding {
	conf, err := config.Load(p.Paths.Config())
	if err != nil {
		return advise(Broken, err.Error()+"; the daemon does not start with it, the edge ignores it", "mend the line, or mv "+p.Paths.Config()+" "+p.Paths.Config()+".old; then halton-meter start")
	}
	p.conf = conf
	if _, err := os.Stat(p.Paths.Config()); err != nil {
		return ok("none: the defaults hold")
	}
	return ok(p.Paths.Config())
}

// program compares the copy that the jobs run with this one.
func (p *Patient) program(context.Context) Finding {
	copied := p.Paths.Program()
	have, err := os.ReadFile(copied)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return mend(Broken, copied+" is missing: launchd cannot start any job", meter(Install, "init"), meter(Start, "start"))
	case err != nil:
		return advise(Broken, err.Error(), "halton-meter init")
	}
	st, err := os.Stat(copied)
	if err == nil && st.Mode().Perm()&0o100 == 0 {
		return mend(Broken, copied+" is not executable", Command{Argv: []string{"chmod", "0755", copied}}, meter(Start, "start"))
	}
	if want, err := os.ReadFile(p.Executable); err == nil && !bytes.Equal(have, want) {
		return mend(Inconsistent, copied+" is not this "+p.Executable+" (v"+p.Version+")", meter(Install, "init"), meter(Start, "start"))
	}
	return ok(copied)
}
