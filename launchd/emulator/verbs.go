package emulator

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/haltonlabs/halton-meter/launchd"
)

// handle answers a request, at once or when what it asked for has happened.
func (r *registry) handle(req request, answer func(reply)) {
	switch req.Verb {
	case "bootstrap":
		answer(r.bootstrap(req))
	case "bootout":
		r.bootout(req, answer)
	case "kickstart":
		r.kickstart(req, answer)
	case "kill":
		answer(r.kill(req))
	case "blame":
		answer(r.blame(req))
	case "enable", "disable":
		answer(r.setDisabled(req))
	case "print":
		answer(r.print(req))
	case "print-disabled":
		answer(r.printDisabled(req))
	case "list":
		answer(r.list(req))
	case "load", "unload", "start", "stop", "remove":
		answer(r.legacy(req))
	case "setenv", "unsetenv":
		answer(r.setenv(req))
	case "getenv":
		answer(r.getenv(req))
	case "managername":
		answer(reply{Stdout: r.session() + "\n"})
	case verbStop:
		r.stop()
		answer(ok())
	default:
		answer(reply{Code: codeBadResponse, Stderr: "unknown verb " + req.Verb + "\n"})
	}
}

// serves reports whether the emulator has the domain.
func (r *registry) serves(d domain) bool {
	if d.ID != os.Getuid() {
		return false
	}
	return d.Kind == "user" || (d.Kind == "gui" && r.hasGUI())
}

func (r *registry) hasGUI() bool {
	return !r.sup.Knobs.NoGUI && !r.noRootGUI()
}

func (r *registry) noRootGUI() bool { return r.sup.Knobs.NoRootGUI && isRoot() }

// own is the domain of launchctl's caller.
func (r *registry) own() domain {
	if r.hasGUI() {
		return domain{"gui", os.Getuid()}
	}
	return domain{"user", os.Getuid()}
}

func (r *registry) session() string {
	if r.hasGUI() {
		return "Aqua"
	}
	return "Background"
}

// find is the job that req names, or the answer that there is none.
func (r *registry) find(req request) (*job, *reply) {
	if req.Domain.Kind == "gui" && req.Domain.ID == 0 && r.noRootGUI() {
		return nil, &reply{Code: codeNoAction, Stderr: launchd.CodeText(codeNoAction) + "\n"}
	}
	if !r.serves(req.Domain) && req.Domain.Kind != "system" {
		return nil, new(noDomain(req.Domain))
	}
	if j := r.jobs[jobKey{req.Domain, req.Label}]; j != nil {
		return j, nil
	}
	return nil, new(noService(req.Label, req.Domain))
}

// when runs then as soon as is holds: now, or after a later step of j.
func (r *registry) when(j *job, is func() bool, then func()) {
	if is() {
		then()
		return
	}
	id := new(waiter)
	*id = func() {
		if is() {
			j.waiting = slices.DeleteFunc(j.waiting, func(w *waiter) bool { return w == id })
			then()
		}
	}
	j.waiting = append(j.waiting, id)
}

func (r *registry) kickstart(req request, answer func(reply)) {
	j, none := r.find(req)
	if none != nil {
		answer(*none)
		return
	}
	refuse := func(code int) reply {
		return reply{Code: code, Stderr: fmt.Sprintf("Could not kickstart service %q: %d: %s\n", req.Label, code, launchd.CodeText(code))}
	}
	before := j.life
	leaving := j.life.State == lingering || (j.life.Remove && (j.life.State == terming || j.life.State == killed))
	switch {
	case leaving:
		answer(refuse(codeAlready))
		return
	case j.rules.spent(&j.life) && (before.PID == 0 || req.Kill):
		// LaunchOnlyOnce: launchd.plist(5) has it that such a job cannot be
		// safely run again.
		answer(refuse(codeNotNow))
		return
	case before.PID != 0 && !req.Kill && r.sup.Knobs.KickstartRunning != 0:
		answer(reply{Code: r.sup.Knobs.KickstartRunning})
		return
	}
	kind := demand
	if req.Kill {
		kind = restart
	}
	r.step(j, event{kind: kind})
	settled := func() bool {
		switch j.life.State {
		case terming, killed:
			return false
		case scheduled:
			return !req.ShowPID
		}
		return true
	}
	r.when(j, settled, func() {
		switch pid := j.life.PID; {
		case j.life.State == gone:
			answer(noService(req.Label, req.Domain))
		case !req.ShowPID || pid == 0:
			answer(ok())
		case req.TTY:
			answer(reply{Stdout: fmt.Sprintf("service spawned with pid: %d\n", pid)})
		default:
			answer(reply{Stdout: fmt.Sprintln(pid)})
		}
	})
}

func (r *registry) kill(req request) reply {
	j, none := r.find(req)
	switch {
	case none != nil:
		return *none
	case j.life.PID == 0 || req.Signal == 0:
		return reply{Code: codeNoProcess, Stderr: "No process to signal.\n"}
	}
	r.signal(j, unix.Signal(req.Signal))
	return ok()
}

// signal reaches the job's main process only, as launchd does: what is left
// of its group is killed when that one is dead.
func (r *registry) signal(j *job, sig unix.Signal) {
	if j.life.PID == 0 {
		return
	}
	r.log.Info("launchd.job.signaled", "label", j.key.label, "pid", j.life.PID, "signal", unix.SignalName(sig))
	if err := unix.Kill(j.life.PID, sig); err != nil {
		r.log.Warn("launchd.job.unsignaled", "label", j.key.label, "pid", j.life.PID, "error", err)
	}
}

func (r *registry) blame(req request) reply {
	j, none := r.find(req)
	switch {
	case none != nil:
		return *none
	case j.life.PID == 0:
		return reply{Code: codeNoProcess, Stderr: "No process to signal.\n"}
	}
	return reply{Stdout: j.life.Reason + "\n"}
}

func (r *registry) setDisabled(req request) reply {
	if !r.serves(req.Domain) {
		return noDomain(req.Domain)
	}
	if err := r.remember(req.Label, req.Verb == "disable"); err != nil {
		r.log.Error("launchd.disabled.unsaved", "error", err)
		return failed("Could not "+req.Verb+" service:", codeIO, "")
	}
	return ok()
}

// remember stores whether the label is disabled.
func (r *registry) remember(label string, disabled bool) error {
	if was, set := r.disabled[label]; set && was == disabled {
		return nil
	}
	next := maps.Clone(r.disabled)
	next[label] = disabled
	if err := writeDisabled(r.sup.Dir, next); err != nil {
		return err
	}
	r.disabled = next
	return nil
}

func (r *registry) setenv(req request) reply {
	if r.stopping {
		return reply{Code: codeTearingDown, Stderr: fmt.Sprintf("Could not set environment: %d: %s\n", codeTearingDown, launchd.CodeText(codeTearingDown))}
	}
	if req.Verb == "setenv" {
		r.env[req.Key] = req.Value
	} else {
		delete(r.env, req.Key)
	}
	r.save()
	return ok()
}

// getenv says nothing, successfully, about a variable that is not set.
func (r *registry) getenv(req request) reply {
	if v, set := r.env[req.Key]; set {
		return reply{Stdout: v + "\n"}
	}
	return ok()
}
