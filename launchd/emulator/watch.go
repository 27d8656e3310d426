package emulator

import (
	"io/fs"
	"os"
	"syscall"
	"time"
)

// sight is what a look at a path of WatchPaths shows. The zero value is a path
// that does not exist. A directory changes when an entry comes or goes, and not
// by what happens below it, as on macOS.
type sight struct {
	inode    uint64
	size     int64
	mode     fs.FileMode
	modified time.Time
}

func look(path string) sight {
	st, err := os.Stat(path)
	if err != nil {
		return sight{}
	}
	s := sight{size: st.Size(), mode: st.Mode(), modified: st.ModTime()}
	if sys, is := st.Sys().(*syscall.Stat_t); is {
		s.inode = sys.Ino
	}
	return s
}

// lookAtPaths notes how the watched paths are now, and reports whether they
// were different before.
func (j *job) lookAtPaths() (changed bool) {
	for _, path := range j.def.WatchPaths {
		now := look(path)
		if before, seen := j.seen[path]; seen && now != before {
			changed = true
		}
		if j.seen == nil {
			j.seen = map[string]sight{}
		}
		j.seen[path] = now
	}
	return changed
}

// filled reports whether a directory of QueueDirectories has an entry.
func filled(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	names, _ := f.Readdirnames(1)
	return len(names) > 0
}

// lookAround starts jobs whose conditions on paths or other jobs have come
// true, and opens sockets that were taken. It looks every half second: that is
// sooner than the throttle lets a job start again.
func (r *registry) lookAround() {
	for _, j := range r.sorted() {
		r.openSockets(j)
		// A change that comes while the job runs makes it run again, also if
		// it is the job's own.
		j.changed = j.lookAtPaths() || j.changed
		switch {
		case j.life.State != idle:
		case j.changed:
			r.step(j, event{kind: demand})
		case j.rules.conditional:
			r.step(j, event{kind: world})
		}
	}
}
