package emulator

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/haltonlabs/halton-meter/launchd"
)

// maxPlist is what launchd.ParseJob accepts, and one byte to notice more.
const maxPlist = 1<<20 + 1

// codeError is a refusal with libxpc's code.
type codeError int

func (c codeError) Error() string { return launchd.CodeText(int(c)) }

// bootstrap loads the services at paths, or says why not.
func (r *registry) bootstrap(req request) reply {
	switch {
	case r.stopping:
		return failed("Bootstrap", codeTearingDown, "")
	case !r.serves(req.Domain):
		return failed("Bootstrap", codeNoAction, "")
	case len(req.Paths) == 0:
		return r.refused("Bootstrap", codeAlready, "")
	}
	lines, code := eachPath(req.Paths, "service already bootstrapped", func(path string) codeError {
		return r.loadPath(req.Domain, path, false)
	})
	if code == 0 {
		return ok()
	}
	return r.refused("Bootstrap", code, lines)
}

// refused is failed for errors about single services. launchctl shows 5 in
// their place; only bad permissions are told to root as they are.
func (r *registry) refused(what string, code int, lines string) reply {
	if r.precise(code) {
		return failed(what, code, lines)
	}
	return failed(what, codeIO, "")
}

func (r *registry) precise(code int) bool {
	return r.sup.Knobs.PreciseErrors || (isRoot() && code == codeBadOwner)
}

// loadPath takes the job at path in; force does so although it is disabled.
func (r *registry) loadPath(dom domain, path string, force bool) codeError {
	j, code := readJob(path)
	if code != 0 {
		return code
	}
	label := j.def.Label
	j.key = jobKey{dom, label}
	j.rules = rulesOf(j.def, r.sup.Knobs)
	disabled, set := r.disabled[label]
	if !set {
		disabled = isTrue(j.def.Disabled)
	}
	switch {
	case r.jobs[j.key] != nil:
		return codeAlready
	case disabled && !force:
		return codeDisabled
	case !inSession(j.def, dom):
		return codeWrongSession
	case slices.Contains(r.sup.Knobs.Blocked, label):
		return codeBlockedPolicy
	}
	r.jobs[j.key] = j
	j.sockets = socketsOf(j.def)
	j.lookAtPaths()
	r.openSockets(j)
	r.log.Info("launchd.job.loaded", "label", label, "domain", dom.String(), "path", path)
	r.step(j, event{kind: load})
	// The step saves what it changes; a job that waits has not changed.
	r.save()
	return 0
}

// readJob reads a plist as launchd accepts it: a file of the user's own (or
// root's) that nobody else can write.
func readJob(path string) (*job, codeError) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, codeNoEntry
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return nil, codeInvalidPlist
	}
	sys, is := st.Sys().(*syscall.Stat_t)
	if !is || st.Mode().Perm()&0o022 != 0 || (int(sys.Uid) != os.Getuid() && sys.Uid != 0) {
		return nil, codeBadOwner
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPlist))
	if err != nil {
		return nil, codeNoEntry
	}
	def, err := launchd.ParseJob(data)
	switch {
	case err != nil:
		return nil, codeInvalidPlist
	case def.Label == "" || strings.Contains(def.Label, "/"):
		return nil, codeNoLabel
	case def.Program == "" && len(def.ProgramArguments) == 0:
		return nil, codeNoProgram
	}
	return &job{path: path, plist: data, def: def, life: life{State: idle}}, 0
}

// inSession checks LimitLoadToSessionType.
func inSession(def *launchd.Job, dom domain) bool {
	types := def.LimitLoadToSessionType.Values
	want := "Background"
	if dom.Kind == "gui" {
		want = "Aqua"
	}
	return len(types) == 0 || slices.Contains(types, want)
}

// bootout removes a service, those at paths, or all of a domain.
func (r *registry) bootout(req request, answer func(reply)) {
	if !r.serves(req.Domain) {
		answer(failed("Boot-out", codeNoAction, ""))
		return
	}
	if req.Label != "" {
		j := r.jobs[jobKey{req.Domain, req.Label}]
		if j == nil {
			answer(failed("Boot-out", codeNoProcess, ""))
			return
		}
		alive := j.life.PID != 0
		r.step(j, event{kind: bootout})
		switch {
		case req.Wait:
			r.when(j, func() bool { return j.life.State == gone }, func() { answer(ok()) })
		case alive && r.sup.Knobs.BootoutInProgress:
			answer(failed("Boot-out", codeInProgress, ""))
		default:
			answer(ok())
		}
		return
	}
	lines, code := eachPath(req.Paths, "", func(path string) codeError { return r.unloadPath(req.Domain, path) })
	if len(req.Paths) == 0 {
		for _, j := range r.sorted() {
			if j.key.domain == req.Domain {
				r.step(j, event{kind: bootout})
			}
		}
	}
	if code != 0 {
		answer(r.refused("Boot-out", code, lines))
		return
	}
	answer(ok())
}

// atPath is the loaded job that the plist at path names.
func (r *registry) atPath(dom domain, path string) *job {
	if read, code := readJob(path); code == 0 {
		return r.jobs[jobKey{dom, read.def.Label}]
	}
	for _, j := range r.jobs {
		if j.key.domain == dom && filepath.Clean(j.path) == filepath.Clean(path) {
			return j
		}
	}
	return nil
}
