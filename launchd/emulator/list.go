package emulator

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

func (r *registry) printDomain(d domain) string {
	var p page
	active := 0
	var rows []*job
	for _, j := range r.sorted() {
		if j.key.domain == d {
			rows = append(rows, j)
		}
		if j.key.domain == d && j.life.PID != 0 {
			active++
		}
	}
	kind, creator := "user", "launchd[1]"
	if d.Kind == "gui" {
		kind, creator = "login", fmt.Sprintf("loginwindow[%d]", os.Getpid())
	}
	fmt.Fprintf(&p, "%s = {\n", d)
	p.line("type = %s", kind)
	p.line("handle = %d", asid())
	p.line("active count = %d", len(rows))
	p.line("service count = %d", len(rows))
	p.line("active service count = %d", active)
	p.line("creator = %s", creator)
	p.line("creator euid = %d", os.Getuid())
	if d.Kind == "gui" {
		p.line("session = Aqua")
	}
	p.WriteByte('\n')
	p.env("environment", r.env)
	p.line("services = {")
	for _, j := range rows {
		p.line("\t%8d %6s \t%s", j.life.PID, j.life.Last.column(), j.key.label)
	}
	p.line("}\n")
	p.block("disabled services", r.disabledLines())
	p.line("properties = uncorked")
	p.WriteString("}\n")
	return p.String()
}

// disabledLines are the entries of the disabled set; "true" of old means
// disabled.
func (r *registry) disabledLines() []string {
	words := map[bool]string{true: "disabled", false: "enabled"}
	if r.sup.Knobs.os() < MacOS13 {
		words = map[bool]string{true: "true", false: "false"}
	}
	var lines []string
	for _, label := range slices.Sorted(maps.Keys(r.disabled)) {
		lines = append(lines, fmt.Sprintf("\"%s\" => %s", label, words[r.disabled[label]]))
	}
	return lines
}

func (r *registry) printDisabled(req request) reply {
	if !r.serves(req.Domain) && req.Domain.Kind != "system" {
		a := noDomain(req.Domain)
		if r.sup.Knobs.os() >= MacOS13 {
			a.Stderr = "Bad request.\n" + a.Stderr
		}
		return a
	}
	indent := "\t"
	if r.sup.Knobs.os() < MacOS13 {
		indent = ""
	}
	lines := r.disabledLines()
	if req.Domain.Kind == "system" {
		lines = nil
	}
	var b strings.Builder
	b.WriteString("\n" + indent + "disabled services = {\n")
	for _, l := range lines {
		b.WriteString(indent + "\t" + l + "\n")
	}
	b.WriteString(indent + "}\n")
	if r.sup.Knobs.os() >= MacOS13 {
		b.WriteString("\n\tlogin item associations = {\n\t}\n")
	}
	return reply{Stdout: b.String()}
}

// list is the legacy verb, which knows labels and the caller's domain only.
func (r *registry) list(req request) reply {
	if req.Label != "" {
		j := r.jobs[jobKey{r.own(), req.Label}]
		if j == nil {
			return reply{Code: codeNoService, Stderr: fmt.Sprintf("Could not find service %q in domain for port\n", req.Label)}
		}
		return reply{Stdout: j.dictionary()}
	}
	var b strings.Builder
	b.WriteString("PID\tStatus\tLabel\n")
	for _, j := range r.sorted() {
		if j.key.domain != r.own() {
			continue
		}
		pid, status := "-", j.life.Last.column()
		if j.life.PID != 0 {
			pid = fmt.Sprint(j.life.PID)
		}
		if status == "-" {
			status = "0"
		}
		fmt.Fprintf(&b, "%s\t%s\t%s\n", pid, status, j.key.label)
	}
	return reply{Stdout: b.String()}
}

func (j *job) dictionary() string {
	var b strings.Builder
	text := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "\t\"%s\" = \"%s\";\n", key, value)
		}
	}
	b.WriteString("{\n")
	text("StandardOutPath", j.def.StandardOutPath)
	text("LimitLoadToSessionType", map[string]string{"gui": "Aqua", "user": "Background"}[j.key.domain.Kind])
	text("StandardErrorPath", j.def.StandardErrorPath)
	text("Label", j.def.Label)
	fmt.Fprintf(&b, "\t\"OnDemand\" = %t;\n", !j.rules.keepAlive)
	fmt.Fprintf(&b, "\t\"LastExitStatus\" = %d;\n", j.life.Last.wait())
	if j.life.PID != 0 {
		fmt.Fprintf(&b, "\t\"PID\" = %d;\n", j.life.PID)
	}
	program := j.def.Program
	if program == "" {
		program = j.def.ProgramArguments[0]
	}
	text("Program", program)
	if len(j.def.ProgramArguments) > 0 {
		b.WriteString("\t\"ProgramArguments\" = (\n")
		for _, a := range j.def.ProgramArguments {
			fmt.Fprintf(&b, "\t\t\"%s\";\n", a)
		}
		b.WriteString("\t);\n")
	}
	b.WriteString("};\n")
	return b.String()
}
