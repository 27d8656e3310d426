package emulator

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haltonlabs/halton-meter/internal/activation"
	"github.com/haltonlabs/halton-meter/internal/process"
	"github.com/haltonlabs/halton-meter/launchd"
)

// registry is all that a supervisor knows. Only its loop touches it.
type registry struct {
	sup      *Supervisor
	log      *slog.Logger
	jobs     map[jobKey]*job
	env      map[string]string // of launchctl setenv
	disabled map[string]bool
	clients  int // greeted and not yet answered
	stopping bool
	orphaned bool // Dir belongs to another supervisor now

	calls chan func()
	done  chan struct{} // closed when the loop has ended
}

// jobKey is one label in one domain: gui/501 and user/501 hold distinct sets
// of services.
type jobKey struct {
	domain domain
	label  string
}

// job is a loaded service.
type job struct {
	key       jobKey
	path      string
	plist     []byte
	def       *launchd.Job
	rules     *rules
	life      life
	pidID     string // of package process
	spawnFail string // why the last spawn failed
	waiting   []*waiter
	sockets   []*socket
	seen      map[string]sight // WatchPaths
	changed   bool             // they have, since the last spawn
}

// waiter is run after each step of a job by one who waits for a change.
type waiter func()

func newRegistry(s *Supervisor) *registry {
	r := &registry{
		sup:   s,
		log:   s.logger(),
		jobs:  map[jobKey]*job{},
		env:   map[string]string{},
		calls: make(chan func()),
		done:  make(chan struct{}),
	}
	var err error
	if r.disabled, err = readDisabled(s.Dir); err != nil {
		r.log.Error("launchd.disabled.unreadable", "error", err)
	}
	return r
}

// call has the loop run f. It reports whether the loop took it.
func (r *registry) call(f func()) bool {
	select {
	case r.calls <- f:
		return true
	case <-r.done:
		return false
	}
}

func (r *registry) sorted() []*job {
	list := make([]*job, 0, len(r.jobs))
	for _, j := range r.jobs {
		list = append(list, j)
	}
	slices.SortFunc(list, func(a, b *job) int {
		return strings.Compare(a.key.label+a.key.domain.Kind, b.key.label+b.key.domain.Kind)
	})
	return list
}

// step moves a job by one event and does what follows from it.
func (r *registry) step(j *job, ev event) {
	ev.outside = j.rules.outside(surroundings{pathExists, filled, r.hasLabel(false), r.hasLabel(true)})
	before := j.life
	effect := j.life.step(j.rules, ev, r.sup.now())
	switch effect {
	case spawn:
		r.spawn(j)
	case sendTerm:
		r.signal(j, unix.SIGTERM)
	case sendKill:
		r.signal(j, unix.SIGKILL)
	}
	r.listen(j)
	if j.life.State == gone {
		j.closeSockets()
		delete(r.jobs, j.key)
		r.log.Info("launchd.job.removed", "label", j.key.label)
	}
	if j.life != before && effect != spawn {
		r.save()
	}
	for _, f := range slices.Clone(j.waiting) {
		(*f)()
	}
}

// spawn forks, records, releases. A failure ends the run as if the process
// had exited with EX_CONFIG, which is what launchd reports.
func (r *registry) spawn(j *job) {
	j.spawnFail = ""
	// What changed before the job starts is no news to it.
	j.lookAtPaths()
	j.changed = false
	r.openSockets(j)
	for _, s := range j.sockets {
		s.given = false
	}
	o, err := orderFor(j.def, r.env)
	o.Env = append(o.Env, activation.Env+"="+filepath.Join(r.sup.Dir, sockFile))
	var c *child
	if err == nil {
		c, err = fork(j.key.label)
	}
	if err != nil {
		r.spawnFailed(j, err)
		r.step(j, event{kind: exited, status: exitStatus{withCode, exConfig}})
		return
	}
	j.pidID = c.id
	j.life.step(j.rules, event{kind: spawned, pid: c.pid}, r.sup.now())
	// The record comes before the release: if this process is killed in
	// between, the proxy finds its order broken off and ends.
	r.save()
	if err := c.release(o); err != nil {
		r.log.Warn("launchd.job.unreleased", "label", j.key.label, "error", err)
	}
	go r.attend(j, c)
}

// attend follows a process to its end.
func (r *registry) attend(j *job, c *child) {
	err := c.awaitExec()
	r.call(func() {
		if err != nil {
			r.spawnFailed(j, err)
			return
		}
		r.log.Debug("launchd.job.running", "label", j.key.label, "pid", c.pid)
		r.step(j, event{kind: execed})
	})
	status := c.reap(isTrue(j.def.AbandonProcessGroup))
	r.call(func() { r.exited(j, status) })
}

func (r *registry) spawnFailed(j *job, err error) {
	// Once, not at each of 20,000 attempts.
	if j.spawnFail != err.Error() {
		r.log.Error("launchd.job.spawn.failed", "label", j.key.label, "error", err)
	}
	j.spawnFail = err.Error()
}

func (r *registry) exited(j *job, status exitStatus) {
	log := r.log.Info
	if status == j.life.Last {
		log = r.log.Debug // a crash loop must not fill the disk
	}
	log("launchd.job.exited", "label", j.key.label, "pid", j.life.PID, "status", status.line())
	r.step(j, event{kind: exited, status: status})
}

// settle comes before each wait, so that a clock that was set back is noticed
// before the next request. What it brings forward is recorded: a supervisor to
// come did not see the step.
func (r *registry) settle() {
	now, moved := r.sup.now(), false
	for _, j := range r.jobs {
		before := j.life.Due
		j.life.settle(j.rules, now)
		moved = moved || !j.life.Due.Equal(before)
	}
	if moved {
		r.save()
	}
}

func (r *registry) dueJobs() {
	now := r.sup.now()
	for _, j := range r.sorted() {
		if d := j.life.Due; !d.IsZero() && !now.Before(d) {
			r.step(j, event{kind: due})
		}
	}
}

func pathExists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// hasLabel returns whether a label is loaded, or also has a process.
func (r *registry) hasLabel(active bool) func(string) bool {
	return func(label string) bool {
		for key, j := range r.jobs {
			if key.label == label && (!active || j.life.PID != 0) {
				return true
			}
		}
		return false
	}
}

// save records the registry for a supervisor to come. Failing that, the jobs
// run on all the same.
func (r *registry) save() {
	if r.orphaned {
		return
	}
	s := savedState{Env: r.env}
	for _, j := range r.sorted() {
		s.Jobs = append(s.Jobs, savedJob{
			Domain: j.key.domain.String(), Path: j.path, Plist: j.plist,
			PIDID: j.pidID, SpawnFail: j.spawnFail, Life: j.life,
		})
	}
	if err := s.save(r.sup.Dir); err != nil {
		r.log.Warn("launchd.state.unsaved", "error", err)
	}
}

// restore takes over what a supervisor that was killed has left.
func (r *registry) restore() {
	var s savedState
	if err := s.load(r.sup.Dir); err != nil {
		r.log.Error("launchd.state.unreadable", "error", err)
	}
	if s.Env != nil {
		r.env = s.Env
	}
	var adopted []*job
	for _, saved := range s.Jobs {
		def, err := launchd.ParseJob(saved.Plist)
		dom, _, known := parseTargetSpec(saved.Domain)
		if err != nil || !known {
			r.log.Error("launchd.job.unreadable", "path", saved.Path, "error", err)
			continue
		}
		j := &job{
			key: jobKey{dom, def.Label}, path: saved.Path, plist: saved.Plist, def: def,
			rules: rulesOf(def, r.sup.Knobs), life: saved.Life,
			pidID: saved.PIDID, spawnFail: saved.SpawnFail, sockets: socketsOf(def),
		}
		j.lookAtPaths()
		r.jobs[j.key] = j
		if j.life.PID != 0 {
			adopted = append(adopted, j)
		}
		r.openSockets(j)
	}
	for _, j := range adopted {
		r.adopt(j)
	}
}

func (r *registry) adopt(j *job) {
	pid, id := j.life.PID, j.pidID
	alive := process.Is(pid, id)
	r.log.Info("launchd.job.adopted", "label", j.key.label, "pid", pid, "alive", alive)
	if j.life.State == starting && alive {
		j.life.State = running
	}
	go func() {
		if status, ok := reapAdopted(pid, id, isTrue(j.def.AbandonProcessGroup), r.done); ok {
			r.call(func() { r.exited(j, status) })
		}
	}()
}

// clientTimeout is how long a client may take to send its request.
const clientTimeout = 10 * time.Second

// serve answers one client.
func (r *registry) serve(conn net.Conn) {
	defer conn.Close()
	if !r.call(func() { r.clients++ }) {
		return
	}
	defer r.call(func() { r.clients-- })
	_ = conn.SetDeadline(time.Now().Add(clientTimeout))
	var req request
	err := send(conn, greeting{Protocol: protocol, PID: os.Getpid()})
	if err == nil {
		err = receive(bufio.NewReader(io.LimitReader(conn, maxRequest)), &req)
	}
	if err != nil {
		r.log.Debug("launchd.client.failed", "error", err)
		return
	}
	if req.Verb == activation.Verb {
		if err := r.handOver(conn, req.Key); err != nil {
			r.log.Warn("launchd.socket.unanswered", "error", err)
		}
		return
	}
	answers := make(chan reply, 1)
	r.call(func() { r.handle(req, func(a reply) { answers <- a }) })
	_ = conn.SetDeadline(time.Time{})
	select {
	case a := <-answers:
		if err := send(conn, a); err != nil {
			r.log.Debug("launchd.client.failed", "error", err)
		}
	case <-r.done:
	}
}
