package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
	for _, d := range p.Paths.Directories() {
		switch err := writable(d); {
		case err == nil, errors.Is(err, fs.ErrNotExist):
			// Whether it must be there is another check's question.
		case errors.Is(err, unix.EROFS):
			return advise(Broken, d+" is on a file system that is mounted read-only: nothing can be metered", "mount it for writing, or set HALTON_METER_HOME to another directory and run halton-meter init; then halton-meter start")
		case errors.Is(err, fs.ErrPermission):
			return mend(Broken, d+" cannot be written: nothing can be metered", meter(Install, "init"), meter(Start, "start"))
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
			// The disk has a check of its own.
		default:
			return advise(Broken, err.Error(), "look at "+d)
		}
	}
	return ok(dir)
}

// writable makes a file in a directory, and takes it away.
func writable(dir string) error {
	probe, err := os.CreateTemp(dir, ".doctor-")
	if err != nil {
		return err
	}
	probe.Close()
	return os.Remove(probe.Name())
}

// permissions looks at what must be its owner's alone: the daemon refuses a
// key that others can read. And what the owner may not read is of no use.
func (p *Patient) permissions(context.Context) Finding {
	var wrong []string
	var fix []Command
	verdict := Healthy
	look := func(path string, allowed, needed fs.FileMode, v Verdict) {
		st, err := os.Stat(path)
		if err != nil {
			return // whether it must be there is another check's question
		}
		have := st.Mode().Perm()
		want := have&allowed | needed
		if have == want {
			return
		}
		if have&needed != needed {
			v = Broken
		}
		wrong = append(wrong, fmt.Sprintf("%s is %04o, not %04o", path, have, want))
		fix = append(fix, Command{Argv: []string{"chmod", fmt.Sprintf("%04o", want), path}})
		if v.rank() > verdict.rank() {
			verdict = v
		}
	}
	look(p.Paths.State, 0o700, 0o500, Inconsistent) // to be written: state directory
	look(p.Paths.CA(), 0o700, 0o500, Inconsistent)
	for _, secret := range []string{p.Paths.EdgeKey(), p.Paths.Token(), filepath.Join(p.Paths.CA(), "ca-key.pem")} {
		look(secret, 0o600, 0o400, Broken)
	}
	for _, label := range agents.Labels {
		look(p.Paths.Plist(label), 0o644, 0o400, Broken) // launchd refuses it
	}
	for _, file := range []string{p.Paths.Config(), p.Paths.InstallMode(), p.Paths.Ports(), filepath.Join(p.Paths.CA(), "ca.pem"), p.Paths.Bundle()} {
		look(file, 0o777, 0o400, Inconsistent)
	}
	look(p.Paths.In("db.sqlite"), 0o777, 0o600, Inconsistent)
	if path := p.foreign(); path != "" {
		return advise(Broken, path+" belongs to another user, as after a sudo", fmt.Sprintf("sudo chown -R %d %s, then halton-meter start", os.Getuid(), p.Paths.State))
	}
	if len(wrong) == 0 {
		return ok("keys are readable by you alone")
	}
	if verdict == Broken {
		// A daemon that refused a key is down.
		fix = append(fix, meter(Start, "start"))
	}
	return mend(verdict, strings.Join(wrong, "; "), fix...)
}

// foreign is the first file of the state directory that is not this user's.
func (p *Patient) foreign() string {
	found := ""
	_ = filepath.WalkDir(p.Paths.State, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil // gone since, or not to be listed: then its directory is told
		}
		if info, err := entry.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Getuid() {
				found = path
				return filepath.SkipAll
			}
		}
		return nil
	})
	return found
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
		return advise(Broken, "the disk of "+p.Paths.State+" is full: rows go to the journal's reserve, then only to memory", "free some space; a daemon that runs goes on by itself, for another: halton-meter start")
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
			return advise(Inconsistent, fmt.Sprintf("%s was written at %s, and now is %s: the clock was set back", path, st.ModTime().UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)), "set the clock; if it is right now, touch "+path)
		}
	}
	return ok(now.UTC().Format(time.RFC3339))
}

func (p *Patient) configuration(context.Context) Finding {
	conf, err := config.Load(p.Paths.Config())
	if err != nil {
		p.stuck = true
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
	st, err := os.Stat(copied)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return mend(Broken, copied+" is missing: launchd cannot start any job", meter(Install, "init"), meter(Start, "start"))
	case err != nil:
		return advise(Broken, err.Error(), "halton-meter init")
	case st.Mode().Perm()&0o100 == 0:
		return mend(Broken, copied+" is not executable", Command{Argv: []string{"chmod", "0755", copied}}, meter(Start, "start"))
	}
	switch same, err := agents.SameProgram(p.Executable, copied); {
	case err != nil:
		return advise(Broken, err.Error(), "halton-meter init")
	case !same:
		return mend(Inconsistent, copied+" is not this "+p.Executable+" (v"+p.Version+")", meter(Install, "init"), meter(Start, "start"))
	}
	return ok(copied)
}
