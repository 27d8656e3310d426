package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/internal/filelock"
	"github.com/haltonlabs/halton-meter/internal/process"
	"github.com/haltonlabs/halton-meter/internal/secret"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
	"github.com/haltonlabs/halton-meter/portalloc"
	"github.com/haltonlabs/halton-meter/proxyedge"
)

// plists compares what is on disk with what would be written now.
func (p *Patient) plists(context.Context) Finding {
	port := agents.EdgePort(p.Paths)
	if port == 0 {
		return mend(Broken, "the edge's plist "+p.Paths.Plist(agents.Edge)+" is missing or names no port", meter(Install, "init"), meter(Start, "start"))
	}
	if pinned := p.conf.Daemon.EdgePort; pinned != 0 && pinned != port {
		return mend(Inconsistent, fmt.Sprintf("config.toml gives the edge port %d, and its plist %d", pinned, port), meter(Install, "init"))
	}
	var wrong []string
	for label, job := range agents.Jobs(p.Paths, port) {
		path := p.Paths.Plist(label)
		data, err := smallfile.Read(path, smallfile.Max)
		want, encodeErr := job.Encode()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			wrong = append(wrong, path+" is missing")
		case err != nil:
			wrong = append(wrong, err.Error())
		case encodeErr == nil && !bytes.Equal(data, want):
			wrong = append(wrong, path+" is not as this version writes it")
		}
	}
	if len(wrong) > 0 {
		return mend(Inconsistent, strings.Join(wrong, "; "), meter(Install, "init"), meter(Start, "start"))
	}
	return ok("four, as this version writes them")
}

func (p *Patient) supervisor(ctx context.Context) Finding {
	_, err := p.look(ctx, agents.Edge)
	switch {
	case errors.Is(err, launchd.ErrNoDomain) && p.Supervisor.Name == agents.Systemd:
		return advise(Broken, "systemd's user manager does not answer: "+err.Error(),
			"export XDG_RUNTIME_DIR=/run/user/$(id -u); if there is no such directory, sudo loginctl enable-linger $USER; then halton-meter start")
	case errors.Is(err, launchd.ErrNoDomain):
		return advise(Broken, "there is no GUI session for this user: "+err.Error(), "log in at the machine's screen once, then halton-meter start")
	case err == nil:
		return ok(p.Supervisor.Name)
	case p.Supervisor.Name == agents.Emulator:
		if pid := emulator.Holder(p.Paths.State); pid != 0 {
			// The next one takes its jobs over.
			return mend(Broken, fmt.Sprintf("the built-in launchd (process %d) does not answer: %v", pid, err),
				Command{Argv: []string{"kill", "-KILL", strconv.Itoa(pid)}}, meter(Install, "init"), meter(Start, "start"))
		}
	case p.Supervisor.Name == agents.Systemd:
	case p.mute != nil:
		return advise(Broken, p.Supervisor.Name+" hangs: "+err.Error(), "log out and in again, or restart the machine; traffic flows meanwhile, as far as the edge runs")
	}
	return advise(Broken, p.Supervisor.Name+" does not answer: "+err.Error(), "halton-meter start")
}

func (p *Patient) disabled(ctx context.Context) Finding {
	var set map[string]bool
	err := p.ask(ctx, func(ctx context.Context) (err error) {
		set, err = p.Supervisor.PrintDisabled(ctx, p.Supervisor.Domain)
		return err
	})
	if err != nil {
		return ok("not known: " + err.Error())
	}
	var names []string
	var fix []Command
	for _, label := range agents.Labels {
		if set[label] {
			names = append(names, label)
			fix = append(fix, p.launchctl("enable", p.Supervisor.Target(label).String()))
		}
	}
	if len(names) == 0 {
		return ok("none")
	}
	return mend(Broken, "disabled: "+strings.Join(names, ", "), append(fix, meter(Start, "start"))...)
}

// launchctl is a call of the launchctl that this installation uses.
func (p *Patient) launchctl(args ...string) Command {
	return Command{Argv: append(p.Supervisor.LaunchctlCommand(), args...)}
}

// kill ends a process that may not answer to SIGTERM: a hung daemon would keep
// launchd waiting for its exit timeout. Rows are safe in the journal.
func (p *Patient) kill(label string) Command {
	c := p.launchctl("kill", "SIGKILL", p.Supervisor.Target(label).String())
	c.Order = Stop
	return c
}

func (p *Patient) edge(ctx context.Context) Finding {
	port := agents.EdgePort(p.Paths)
	if port == 0 {
		return mend(Broken, "the edge has no port", meter(Install, "init"), meter(Start, "start"))
	}
	addr := agents.EdgeAddress(port)
	if _, err := secret.Read(p.Paths.EdgeKey()); err != nil {
		// It may well serve. Nobody may end it for a fault of its key's.
		return ok("not asked on " + addr + ": that takes its key")
	}
	svc, lookErr := p.look(ctx, agents.Edge)
	err := agents.EdgeAnswers(ctx, p.Paths, port)
	h := portalloc.FindHolder(ctx, port)
	ours := svc != nil && svc.PID != 0
	stranger := h.PID != 0 && !(ours && h.PID == svc.PID) && !agents.HeldForUs(p.Paths, h)
	switch {
	case err == nil && lookErr == nil && svc == nil:
		return mend(Inconsistent, "an edge of ours answers on "+addr+", and launchd does not know it: nothing restarts it", meter(Start, "start"))
	case err == nil:
		if rep, askErr := p.edgeReport(ctx); askErr == nil && rep.Version != "" && rep.Version != p.Version {
			return mend(Inconsistent, "the edge runs v"+rep.Version+", this is v"+p.Version, meter(Install, "init"))
		}
		if !agents.EdgeIsCurrent(ctx, p.Paths) {
			return mend(Inconsistent, "the edge on "+addr+" runs as it was before its program or the upstream changed", meter(Install, "init"))
		}
		return ok("answers on " + addr)
	case errors.Is(err, proxyedge.ErrStranger), stranger:
		return mend(Broken, who(h)+" listens on the edge's port "+addr, meter(Install, "init"), meter(Start, "start"))
	case lookErr == nil && (svc == nil || svc.Draining()):
		return mend(Broken, "the edge is not loaded: programs that use "+addr+" fail", meter(Start, "start"))
	case ours:
		return mend(Broken, fmt.Sprintf("the edge (process %d) does not answer on %s: %v", svc.PID, addr, err), p.kill(agents.Edge), meter(Start, "start"))
	}
	return mend(Broken, "the edge does not run: programs that use "+addr+" fail; "+ended(svc), meter(Install, "init"), meter(Start, "start"))
}

// why is how a job's last run ended, with its last words or where they stand.
func (p *Patient) why(svc *launchd.Service, label string) string {
	if words := p.LastWords(label); words != "" {
		return ended(svc) + ": " + words
	}
	return ended(svc) + " (see " + p.Paths.Log(label, "err") + ")"
}

func ended(svc *launchd.Service) string {
	switch {
	case svc == nil:
		return "launchd does not say why"
	case svc.LastSignal != "":
		return "its last run was ended by " + svc.LastSignal
	case svc.LastExitCode != nil:
		return fmt.Sprintf("its last run ended with code %d", *svc.LastExitCode)
	}
	return "it is " + svc.State
}

func (p *Patient) daemon(ctx context.Context) Finding {
	if left, stopped := agents.Stopped(p.Paths, p.Now()); stopped {
		return advise(Inconsistent, fmt.Sprintf("stopped by \"halton-meter stop\" %d s ago: traffic flows unmetered", int(30-left.Seconds())), "halton-meter start")
	}
	svc, err := p.look(ctx, agents.Daemon)
	start := meter(Start, "start")
	switch {
	case err != nil:
		return advise(Broken, err.Error(), "halton-meter start")
	case svc == nil:
		return mend(Broken, "the daemon is not loaded: traffic flows unmetered", start)
	case svc.PID == 0:
		return mend(Broken, "the daemon does not run: traffic flows unmetered; "+p.why(svc, agents.Daemon), start)
	}
	rec, err := p.record()
	if err != nil || rec.PID != svc.PID || !rec.Live() {
		why := "names another process"
		if err != nil {
			why = err.Error()
		}
		return mend(Broken, fmt.Sprintf("the daemon (process %d) runs, and its record of ports %s: the edge cannot find it", svc.PID, why), p.kill(agents.Daemon), meter(Start, "start"))
	}
	health, err := p.Health(ctx, rec.Ports["api"])
	again := []Command{meter(Stop, "stop"), meter(Start, "start")}
	switch {
	case err != nil:
		return mend(Broken, fmt.Sprintf("the daemon (process %d) is not healthy: %v", svc.PID, err), p.kill(agents.Daemon), meter(Start, "start"))
	case health.Version != p.Version:
		return mend(Inconsistent, "the daemon runs v"+health.Version+", this is v"+p.Version, again...)
	case len(health.Warnings) > 0:
		return advise(Inconsistent, strings.Join(health.Warnings, "; "), "halton-meter status tells more")
	case p.writtenSince(p.Paths.Config()):
		return mend(Inconsistent, fmt.Sprintf("%s was written after the daemon (process %d) had read it", p.Paths.Config(), svc.PID), again...)
	case slices.Contains(agents.Outdated(p.Paths), agents.Daemon):
		return mend(Inconsistent, fmt.Sprintf("the daemon (process %d) runs as it was before its program, its plist or the upstream changed", svc.PID), meter(Install, "init"))
	}
	return ok(fmt.Sprintf("process %d, /health 200 on port %d", svc.PID, rec.Ports["api"]))
}

func (p *Patient) watchdog(ctx context.Context) Finding {
	svc, err := p.look(ctx, agents.Watchdog)
	switch {
	case err != nil:
		return ok("not known: " + err.Error())
	case svc == nil || svc.PID == 0:
		if d, err := p.look(ctx, agents.Daemon); err == nil && d == nil {
			return ok("not loaded, as the daemon")
		}
		return mend(Inconsistent, "the watchdog does not run", meter(Start, "start"))
	case process.Suspended(svc.PID):
		return mend(Inconsistent, fmt.Sprintf("the watchdog (process %d) was suspended: nobody takes the system proxy away when metering dies", svc.PID),
			Command{Argv: []string{"kill", "-CONT", strconv.Itoa(svc.PID)}})
	}
	return ok(fmt.Sprintf("process %d", svc.PID))
}

// userenv looks at the login agent: without it the next session's GUI programs
// are not metered in mode apps.
func (p *Patient) userenv(ctx context.Context) Finding {
	svc, err := p.look(ctx, agents.UserEnv)
	switch {
	case err != nil:
		return ok("not known: " + err.Error())
	case svc == nil:
		return mend(Inconsistent, "the login agent is not loaded", meter(Install, "init"))
	}
	return ok("loaded; it runs at each login")
}

// otherCommands finds one that holds the lock, and behind which each of the
// plan's would wait.
func (p *Patient) otherCommands(ctx context.Context) Finding {
	if st, err := os.Stat(p.Paths.State); err != nil || !st.IsDir() {
		return ok("none at work") // to lock it would make a file of that name
	}
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	lock, err := filelock.Wait(ctx, p.Paths.State)
	if errors.Is(err, filelock.ErrHeld) {
		return advise(Inconsistent, "another halton-meter command is at work", "wait for its end, and run halton-meter doctor again; one that hangs can be ended, and done again")
	}
	if err == nil {
		lock.Unlock()
	}
	return ok("none at work")
}

// lockPatience is how long a command that is about to end gets for it.
const lockPatience = time.Second

// secondDaemon finds a halton-meter that holds one of the daemon's ports and
// is not launchd's daemon.
func (p *Patient) secondDaemon(ctx context.Context) Finding {
	rec, err := p.record()
	if err != nil || !rec.Live() {
		return ok("none")
	}
	svc, err := p.look(ctx, agents.Daemon)
	if err == nil && (svc == nil || svc.PID != rec.PID) {
		return mend(Broken, fmt.Sprintf("process %d is a daemon that launchd did not start, and has the state directory", rec.PID),
			Command{Argv: []string{"kill", strconv.Itoa(rec.PID)}}, meter(Start, "start"))
	}
	return ok("none")
}

// ports names the strangers on our ports; the daemon falls back by itself.
func (p *Patient) ports(ctx context.Context) Finding {
	rec, err := p.record()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return mend(Inconsistent, err.Error()+": it is not trusted, and written anew at the next start", meter(Start, "start"))
	}
	names := []string{"internal", "api"}
	var strangers, chosen []string
	for i, choice := range []portalloc.Port{agents.InternalChoice(p.conf.Daemon.InternalPort), agents.APIChoice(p.conf.Daemon.APIPort)} {
		port := rec.Ports[names[i]]
		chosen = append(chosen, fmt.Sprintf("%s %d", names[i], port))
		h := portalloc.FindHolder(ctx, choice.Preferred)
		if h != (portalloc.Holder{}) && (h.PID == 0 || h.PID != rec.PID) {
			text := who(h) + " listens on " + net.JoinHostPort("127.0.0.1", strconv.Itoa(choice.Preferred))
			if port != 0 && port != choice.Preferred && rec.Live() {
				chosen[i] += " (fallback: " + text + ")"
				continue
			}
			strangers = append(strangers, text)
		}
	}
	if len(strangers) > 0 {
		return mend(Inconsistent, strings.Join(strangers, "; "), meter(Start, "start"))
	}
	return ok(strings.Join(chosen, ", "))
}

// who names the holder of a port. Of another user's process the system tells
// less.
func who(h portalloc.Holder) string {
	switch {
	case h.PID != 0:
		return fmt.Sprintf("%s (process %d, user %s)", h.Command, h.PID, h.User)
	case h.User != "":
		return "a program of user " + h.User
	}
	return "another program"
}
