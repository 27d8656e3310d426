package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
)

// part is a name in the installation, and what must be there if anything is.
type part struct {
	path string
	kind fs.FileMode // 0 for a file, fs.ModeDir, fs.ModeSocket
	// real: a symbolic link will not do.
	real bool
}

// parts are what later checks read, the jobs open, or init writes.
func (p *Patient) parts() []part {
	state := p.Paths
	all := []part{{path: state.State, kind: fs.ModeDir}}
	for _, dir := range state.Directories()[1:] {
		all = append(all, part{path: dir, kind: fs.ModeDir})
	}
	for _, path := range []string{
		state.Config(), state.InstallMode(), state.Ports(), state.GracefulShutdown(), state.Postmortem(), state.Upstream(),
		state.ProxyManaged(), state.AppsManaged(), state.SystemState(), state.EdgeCounters(), state.Program(),
		state.In("db.sqlite"), state.AdoptedRoots(), state.Bundle(), filepath.Join(state.CA(), "ca.pem"),
	} {
		all = append(all, part{path: path})
	}
	// The meter follows no link to a key, nor launchd one to a plist.
	for _, path := range []string{state.EdgeKey(), state.Token(), filepath.Join(state.CA(), "ca-key.pem")} {
		all = append(all, part{path: path, real: true})
	}
	for _, label := range agents.Labels {
		all = append(all, part{path: state.Plist(label), real: true},
			part{path: state.Log(label, "err")}, part{path: state.Log(label, "out")})
	}
	return append(all, part{path: filepath.Dir(state.Plist(agents.Daemon)), kind: fs.ModeDir},
		part{path: state.EdgeSocket(), kind: fs.ModeSocket})
}

// files finds what is no file where one must be, or a stranger's: reading it
// could hang, and all that follows would tell of symptoms.
func (p *Patient) files(context.Context) Finding {
	var wrong, foreign []string
	var fix []Command
	for _, part := range p.parts() {
		st, err := os.Lstat(part.path)
		if err != nil {
			continue // whether it must be there is another check's question
		}
		is := kind(st.Mode())
		if st.Mode()&fs.ModeSymlink != 0 && !part.real {
			target, _ := os.Readlink(part.path)
			if st, err = os.Stat(part.path); err != nil {
				p.blind = true
				return advise(Broken, fmt.Sprintf("%s is a link to %s, and that cannot be reached: %v", part.path, target, cause(err)),
					"mount or make "+target+", or rm "+part.path+"; then halton-meter init && halton-meter start")
			}
			is = kind(st.Mode())
		}
		if st.Mode().Type() != part.kind {
			wrong = append(wrong, fmt.Sprintf("%s is a %s, and must be a %s", part.path, is, kind(part.kind)))
			fix = append(fix, Command{Argv: []string{"mv", part.path, aside(part.path)}})
			continue
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); ok && int(sys.Uid) != os.Getuid() && !usable(part, st) {
			foreign = append(foreign, fmt.Sprintf("%s belongs to user %d, and you may not use it", part.path, sys.Uid))
		}
	}
	switch {
	case len(foreign) > 0:
		p.blind = true
		return advise(Broken, strings.Join(append(foreign, wrong...), "; ")+": as after a sudo",
			fmt.Sprintf("sudo chown -R %d %s %s, then halton-meter init && halton-meter start", os.Getuid(), p.Paths.State, filepath.Dir(p.Paths.Plist(agents.Daemon))))
	case len(wrong) > 0:
		p.blind = true
		// Who runs has the old one open.
		return mend(Broken, strings.Join(wrong, "; "), append(fix, meter(Stop, "stop"), meter(Install, "init"), meter(Start, "start"))...)
	}
	return ok("each is what it must be")
}

// usable reports whether this user can read, and write or enter, what another
// one owns.
func usable(part part, st fs.FileInfo) bool {
	if part.kind == fs.ModeDir {
		return writable(part.path) == nil
	}
	if part.kind != 0 || st.Mode().Perm()&0o111 != 0 {
		return true // nobody reads a socket, and a program must only run
	}
	f, err := os.OpenFile(part.path, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

func kind(mode fs.FileMode) string {
	switch mode.Type() {
	case 0:
		return "file"
	case fs.ModeDir:
		return "directory"
	case fs.ModeSymlink:
		return "link"
	case fs.ModeSocket:
		return "socket"
	case fs.ModeNamedPipe:
		return "pipe"
	}
	return "device"
}

// aside is a free name for what is moved away.
func aside(path string) string {
	for n := 1; ; n++ {
		name := fmt.Sprintf("%s.old-%d", path, n)
		if _, err := os.Lstat(name); err != nil {
			return name
		}
	}
}

// cause is an error without the operation and the path.
func cause(err error) error {
	if path, ok := err.(*fs.PathError); ok { //nolint:errorlint // as os returns it
		return path.Err
	}
	return err
}
