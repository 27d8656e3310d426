package launchd

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxOutputBytes bounds what is read of launchctl's answers. The longest real
// ones, of a whole domain, have a few hundred KiB.
const maxOutputBytes = 4 << 20

// A Service is a loaded service as launchctl print shows it. Apple promises
// nothing about that text, so every field may be empty, and whatever the
// parser does not know is in Fields and Blocks.
type Service struct {
	Target string // gui/501/com.example.agent
	State  string // running, not running, spawn scheduled, SIGTERMed, …
	Type   string // LaunchAgent, LaunchDaemon, Submitted, …
	Path   string // of the plist; "(submitted by …)" if there is none

	PID     int // 0: no process
	Program string
	// Arguments are as launchctl prints them. It does not mark where an
	// argument of several lines ends; HasArguments compares exactly.
	Arguments   []string
	Environment map[string]string

	// LastExitCode and LastSignal tell of the previous run, also while the
	// next one lives. At most one of them is set.
	LastExitCode   *int
	LastSignal     string // "Killed: 9"
	LastExitReason string // "OS_REASON_CODESIGNING"

	Runs            int
	ExitTimeout     *time.Duration // from SIGTERM to SIGKILL; 0 means never
	MinimumRuntime  time.Duration  // the throttle interval
	RunInterval     time.Duration
	ImmediateReason string // why the present process was started
	JobState        string // "spawn failed", …
	// PendedSpawn says why launchd holds a start back, perhaps for good:
	// speculative, inefficient. Client.Kickstart starts it anyway.
	PendedSpawn string
	Properties  []string // keepalive, runatload, …

	// Fields has each "key = value" of the top level, Blocks the raw lines of
	// each "key = { … }".
	Fields map[string]string
	Blocks map[string]string

	// afterArguments is the raw text from the first argument on.
	afterArguments string
}

// Draining reports whether launchd is taking the service down: it has no new
// process, and its label is taken until the old one is gone.
func (s *Service) Draining() bool {
	switch s.State {
	case "SIGTERMed", "SIGKILLed", "languishing":
		return true
	}
	return false
}

// HasArguments reports whether the service was loaded with argv, whatever its
// lines look like. It can take no for yes only if a loaded argument holds a
// tab and a closing brace on a line and then an empty line, and argv is what
// comes before these two.
func (s *Service) HasArguments(argv []string) bool {
	var b strings.Builder
	for _, arg := range argv {
		b.WriteString("\t\t" + arg + "\n")
	}
	if s.Blocks["arguments"] == b.String() {
		return true
	}
	rest, ok := strings.CutPrefix(s.afterArguments, b.String()+"\t}")
	return ok && (rest == "" || strings.HasPrefix(rest, "\n\n") || strings.HasPrefix(rest, "\n}"))
}

// rawBlocks are printed without any escape, so a line of theirs may look like
// the end of the block, or like a field. A blank line follows their real end.
var rawBlocks = map[string]bool{
	"arguments": true, "environment": true, "default environment": true,
	"inherited environment": true, "global environment": true, "controller-supplied environment": true,
}

// beforeArguments are the fields that launchctl prints before any text that
// the job's author chose. Of these the first counts, of the others the last,
// so an argument that spells "pid = 1" on a line of its own changes nothing.
var beforeArguments = map[string]bool{
	"active count": true, "copy count": true, "path": true, "type": true, "managed_by": true,
	"state": true, "bundle id": true, "program": true,
}

// ParseService reads the output of launchctl print for a service, of any
// macOS since 12.
func ParseService(data []byte) (*Service, error) {
	p, err := parsePrint(data)
	if err != nil {
		return nil, fmt.Errorf("parse service: %w", err)
	}
	s := &Service{Target: p.target, Fields: p.fields, Blocks: p.blocks, afterArguments: p.afterArguments}
	s.fill()
	return s, nil
}

// printout is the output of launchctl print, of a service or a domain.
type printout struct {
	target         string
	fields, blocks map[string]string
	afterArguments string
}

func parsePrint(data []byte) (*printout, error) {
	if len(data) > maxOutputBytes {
		return nil, fmt.Errorf("larger than %d bytes", maxOutputBytes)
	}
	lines := strings.Split(string(bytes.Trim(data, "\n")), "\n")
	target, ok := strings.CutSuffix(lines[0], " = {")
	if !ok || target == "" || target[0] == '\t' {
		return nil, errors.New("no line such as \"gui/501/com.example.agent = {\" at the start")
	}
	p := &printout{target: target, fields: map[string]string{}, blocks: map[string]string{}}
	for i := 1; i < len(lines); i++ {
		line, ok := strings.CutPrefix(lines[i], "\t")
		if !ok || strings.HasPrefix(line, "\t") {
			continue
		}
		if name, ok := strings.CutSuffix(line, " = {"); ok {
			_, again := p.blocks[name]
			end := blockEnd(lines, i+1, rawBlocks[name] && !again)
			if !again {
				p.blocks[name] = joinLines(lines[i+1 : end])
				if name == "arguments" {
					p.afterArguments = strings.Join(lines[i+1:], "\n")
				}
			}
			i = end
			continue
		}
		key, value, ok := strings.Cut(line, " = ")
		if _, again := p.fields[key]; ok && (!again || !beforeArguments[key]) {
			p.fields[key] = value
		}
	}
	return p, nil
}

// blockEnd is the index of the line that closes a block of the top level.
func blockEnd(lines []string, from int, raw bool) int {
	first := len(lines)
	for i := from; i < len(lines); i++ {
		if lines[i] != "\t}" {
			continue
		}
		if !raw || i+1 == len(lines) || lines[i+1] == "" || lines[i+1] == "}" {
			return i
		}
		first = min(first, i)
	}
	return first
}

func joinLines(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

func (s *Service) fill() {
	f := s.Fields
	s.State, s.Type, s.Path, s.Program = f["state"], f["type"], f["path"], f["program"]
	s.ImmediateReason, s.JobState = f["immediate reason"], f["job state"]
	s.LastSignal, s.LastExitReason = f["last terminating signal"], f["last exit reason"]
	s.PendedSpawn = f["pended nondemand spawn"]
	if s.PendedSpawn == "" {
		s.PendedSpawn = f["pended spawn"]
	}
	s.PID, _ = number(f["pid"])
	s.Runs, _ = number(f["runs"])
	s.MinimumRuntime, _ = seconds(f["minimum runtime"])
	s.RunInterval, _ = seconds(strings.TrimSuffix(f["run interval"], " seconds"))
	if d, ok := seconds(f["exit timeout"]); ok {
		s.ExitTimeout = &d
	}
	// "0", "78: EX_CONFIG", "(never exited)"
	code, _, _ := strings.Cut(f["last exit code"], ":")
	if n, ok := number(code); ok {
		s.LastExitCode = &n
	}
	if f["properties"] != "" {
		s.Properties = strings.Split(f["properties"], " | ")
	}
	s.Arguments = entries(s.Blocks["arguments"])
	for _, entry := range entries(s.Blocks["environment"]) {
		if key, value, ok := strings.Cut(entry, " => "); ok {
			if s.Environment == nil {
				s.Environment = map[string]string{}
			}
			s.Environment[key] = value
		}
	}
}

// entries splits a raw block. A line that is not indented continues the entry
// before it.
func entries(block string) []string {
	var out []string
	for line := range strings.Lines(block) {
		line = strings.TrimSuffix(line, "\n")
		if entry, ok := strings.CutPrefix(line, "\t\t"); ok || len(out) == 0 {
			out = append(out, entry)
			continue
		}
		out[len(out)-1] += "\n" + line
	}
	return out
}

// number reads a number that is not negative.
func number(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 31)
	return int(n), err == nil
}

func seconds(s string) (time.Duration, bool) {
	n, ok := number(s)
	return time.Duration(n) * time.Second, ok
}
