package emulator

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/haltonlabs/halton-meter/launchd"
)

// print describes a service or a domain.
func (r *registry) print(req request) reply {
	badRequest := func(a reply) reply {
		if r.sup.Knobs.os() >= MacOS13 && (a.Code == codeNoDomain || a.Code == codeNoService) {
			a.Stderr = "Bad request.\n" + a.Stderr
		}
		return a
	}
	j, none := r.find(req)
	switch {
	case req.Label == "" && r.serves(req.Domain):
		return reply{Stdout: r.printDomain(req.Domain)}
	case none != nil:
		return badRequest(*none)
	}
	return reply{Stdout: r.printService(j)}
}

// page writes launchctl print's format: tabs for depth, nothing quoted.
type page struct{ strings.Builder }

func (p *page) line(format string, args ...any) {
	fmt.Fprintf(p, "\t"+format+"\n", args...)
}

// field is a line that is left out when it has no value.
func (p *page) field(name, value string) {
	if value != "" {
		p.line("%s = %s", name, value)
	}
}

// block is a list between braces and a blank line.
func (p *page) block(name string, lines []string) {
	p.line("%s = {", name)
	for _, l := range lines {
		p.line("\t%s", l)
	}
	p.line("}")
	p.WriteByte('\n')
}

func (p *page) env(name string, vars map[string]string) {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(vars)) {
		lines = append(lines, key+" => "+vars[key])
	}
	p.block(name, lines)
}

// asid is the audit session that stands for the user's login.
func asid() int { return 100000 + os.Getuid()%1000 }

// printService has its fields in the order of the real one, which prints
// arguments and values raw, whatever they contain.
func (r *registry) printService(j *job) string {
	var p page
	l, def, os := &j.life, j.def, r.sup.Knobs.os()
	active := 0
	if l.PID != 0 {
		active = 1
	}
	fmt.Fprintf(&p, "%s/%s = {\n", j.key.domain, j.key.label)
	p.line("active count = %d", active)
	p.line("path = %s", j.path)
	p.line("type = LaunchAgent")
	p.line("state = %s\n", l.printedState())

	program := def.Program
	if program == "" {
		program = def.ProgramArguments[0]
	}
	p.line("program = %s", program)
	args := def.ProgramArguments
	if len(args) == 0 {
		args = []string{program}
	}
	p.block("arguments", args)
	if def.WorkingDirectory != "" {
		p.line("working directory = %s\n", def.WorkingDirectory)
	}
	p.field("stdin path", def.StandardInPath)
	p.field("stdout path", def.StandardOutPath)
	p.field("stderr path", def.StandardErrorPath)
	if len(r.env) > 0 {
		p.env("inherited environment", r.env)
	}
	p.env("default environment", map[string]string{"PATH": defaultPath})
	env := map[string]string{}
	maps.Copy(env, def.EnvironmentVariables)
	env["XPC_SERVICE_NAME"] = def.Label
	if os >= MacOS13 {
		env["OSLogRateLimit"] = "64"
	}
	p.env("environment", env)

	p.line("domain = %s [%d]", j.key.domain, asid())
	p.line("asid = %d", asid())
	if def.Umask != nil {
		p.line("umask = %o", umaskOf(def))
	}
	p.line("minimum runtime = %d", int(j.rules.throttle.Seconds()))
	p.line("exit timeout = %d", int(j.rules.exitTimeout.Seconds()))
	if def.Nice != nil {
		p.line("nice = %d", *def.Nice)
	}
	p.line("runs = %d", l.Runs)
	if l.PID != 0 {
		p.process(l, os)
	}
	p.field("pended nondemand spawn", l.Pended)
	p.line("%s\n", l.Last.line())
	p.semaphores(def.KeepAlive)
	p.triggers(def, j.key.label)
	p.sockets(j)
	p.resources(j)
	p.line("properties = %s", strings.Join(properties(def, os), " | "))
	p.WriteString("}\n")
	return p.String()
}

func (l *life) printedState() state {
	if l.State == lingering {
		return terming
	}
	return l.State
}

func (p *page) process(l *life, os OS) {
	p.line("pid = %d", l.PID)
	p.line("immediate reason = %s", l.Reason)
	p.line("forks = 0")
	execs := 1
	if l.State == starting {
		execs = 0
	}
	p.line("execs = %d", execs)
	p.line("initialized = %d", execs)
	p.line("trampolined = 1")
	p.line("started suspended = 0")
	p.line("proxy started suspended = 0")
	if os >= MacOS26 {
		p.line("checked allocations = 0 (queried = 1)")
		p.line("checked allocations reason = no host")
		p.line("checked allocations flags = 0x0")
	}
}

// semaphores are the conditions of KeepAlive; its boolean form is a property.
func (p *page) semaphores(k *launchd.KeepAlive) {
	if k == nil || k.Conditions == nil {
		return
	}
	var lines []string
	add := func(what string, want bool) {
		n := 0
		if want {
			n = 1
		}
		lines = append(lines, fmt.Sprintf("%s => %d", what, n))
	}
	c := k.Conditions
	if c.SuccessfulExit != nil {
		add("successful exit", *c.SuccessfulExit)
	}
	if c.Crashed != nil {
		add("after crash", *c.Crashed)
	}
	for _, path := range slices.Sorted(maps.Keys(c.PathState)) {
		add("path "+path, c.PathState[path])
	}
	for _, label := range slices.Sorted(maps.Keys(c.OtherJobEnabled)) {
		add("job "+label, c.OtherJobEnabled[label])
	}
	p.block("semaphores", lines)
}

func (p *page) triggers(def *launchd.Job, label string) {
	if len(def.StartCalendarInterval.Values) == 0 {
		return
	}
	p.line("event triggers = {")
	for i, c := range def.StartCalendarInterval.Values {
		p.line("\t%s.%d => {", label, 268435456+i)
		p.line("\t\tkeepalive = 0")
		p.line("\t\tservice = %s", label)
		p.line("\t\tstream = com.apple.launchd.calendarinterval")
		p.line("\t\tmonitor = com.apple.UserEventAgent-Aqua")
		p.line("\t\tdescriptor = {")
		for _, f := range []struct {
			name  string
			value *int
		}{{"Minute", c.Minute}, {"Hour", c.Hour}, {"Day", c.Day}, {"Weekday", c.Weekday}, {"Month", c.Month}} {
			if f.value != nil {
				p.line("\t\t\t\"%s\" => %d", f.name, *f.value)
			}
		}
		p.line("\t\t}")
		p.line("\t}")
	}
	p.line("}\n")
}

// sockets are shown by the names that their keys have elsewhere: no capture of
// this block is public. The port is that which the system chose, if it did.
func (p *page) sockets(j *job) {
	if len(j.sockets) == 0 {
		return
	}
	p.line("sockets = {")
	for _, s := range j.sockets {
		p.line("\t%q = {", s.name)
		p.line("\t\ttype = %s", cmp.Or(s.spec.SockType, "stream"))
		switch s.network {
		case "tcp":
			host, _, _ := net.SplitHostPort(s.address)
			p.line("\t\tnode name = %s", host)
			p.line("\t\tservice name = %s", s.port())
		case "unix":
			p.line("\t\tpath = %s", s.address)
		}
		open := 0
		if s.file != nil {
			open = 1
		}
		p.line("\t\tactive = %d", open)
		p.line("\t}")
	}
	p.line("}\n")
}

func (p *page) resources(j *job) {
	for i, kind := range []string{"resource", "jetsam"} {
		if j.life.PID == 0 {
			break
		}
		p.block(kind+" coalition", []string{
			fmt.Sprintf("ID = %d", 1000+2*j.life.PID+i),
			"type = " + kind,
			"state = active",
			"active count = 1",
			"name = " + j.key.label,
		})
	}
	spawnType := map[string]string{"App": "app (1)", "Interactive": "interactive (4)", "Background": "background (5)", "Adaptive": "adaptive (6)"}[cmp.Or(j.def.ProcessType, j.def.POSIXSpawnType)]
	if spawnType == "" {
		spawnType = "daemon (3)"
	}
	p.line("spawn type = %s", spawnType)
	p.line("jetsam priority = 40")
	p.line("jetsam memory limit (active) = (unlimited)")
	p.line("jetsam memory limit (inactive) = (unlimited)")
	p.line("jetsamproperties category = daemon")
	p.line("jetsam thread limit = 32")
	p.line("cpumon = default")
	if j.rules.interval > 0 {
		p.line("run interval = %d seconds", int(j.rules.interval.Seconds()))
	}
	if j.spawnFail != "" {
		p.line("job state = spawn failed")
	}
	p.WriteByte('\n')
}

// properties are in the order of launchd's own list.
func properties(def *launchd.Job, os OS) []string {
	var list []string
	add := func(is bool, name string) {
		if is {
			list = append(list, name)
		}
	}
	add(def.KeepAlive != nil && def.KeepAlive.Conditions == nil && def.KeepAlive.Always, "keepalive")
	add(isTrue(def.RunAtLoad), "runatload")
	add(isTrue(def.LowPriorityIO), "low priority i/o")
	add(isTrue(def.LowPriorityBackgroundIO), "low priority background i/o")
	add(isTrue(def.EnableTransactions), "supports transactions")
	add(isTrue(def.EnablePressuredExit), "supports pressured exit")
	add(isTrue(def.AbandonProcessGroup), "abandon process group")
	add(isTrue(def.LaunchOnlyOnce), "launch only once")
	add(def.Program == "", "inferred program")
	add(isTrue(def.LegacyTimers), "legacy timer behavior")
	add(isTrue(def.SessionCreate), "creates session")
	add(os >= MacOS15, "managed LWCR")
	add(os >= MacOS15, "has LWCR")
	return list
}
