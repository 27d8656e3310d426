package emulator

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/haltonlabs/halton-meter/launchd"
)

// The verbs of launchctl from before domains had targets. They act in the
// domain of the caller.

// parseLegacy reads the arguments of load, unload, start, stop and remove.
func parseLegacy(r request, args []string, knobs Knobs) (request, *reply) {
	if r.Verb == "start" || r.Verb == "stop" || r.Verb == "remove" {
		if len(args) == 0 || args[0] == "" {
			return r, usage(r.Verb, knobs)
		}
		r.Label = args[0]
		return r, nil
	}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		flags := args[0][1:]
		args = args[1:]
		for i, flag := range flags {
			switch flag {
			case 'w':
				r.Persist = true
			case 'F':
				r.Force = true
			case 'S', 'D':
				value := flags[i+1:]
				if value == "" && len(args) > 0 {
					value, args = args[0], args[1:]
				}
				if value == "" {
					return r, usage(r.Verb, knobs)
				}
				if flag == 'S' {
					r.Session = value
				}
			default:
				return r, usage(r.Verb, knobs)
			}
			if flag == 'S' || flag == 'D' {
				break
			}
		}
	}
	r.Paths = args
	if len(args) == 0 {
		return r, usage(r.Verb, knobs)
	}
	return r, nil
}

// legacy answers them. launchctl(1) on load and unload: "will only return a
// non-zero exit code due to improper usage".
func (r *registry) legacy(req request) reply {
	switch req.Verb {
	case "load", "unload":
		return r.loadOrUnload(req)
	}
	j := r.jobs[jobKey{r.own(), req.Label}]
	switch {
	case j == nil && req.Verb == "remove":
		return ok()
	case j == nil, req.Verb == "stop" && j.life.PID == 0:
		return reply{Code: codeNoProcess}
	}
	kind := map[string]eventKind{"start": demand, "stop": halt, "remove": bootout}[req.Verb]
	r.step(j, event{kind: kind})
	return ok()
}

func (r *registry) loadOrUnload(req request) reply {
	dom := r.own()
	if req.Session == "Background" {
		dom.Kind = "user"
	}
	failure, remedy := "Load failed", "bootstrap"
	if req.Verb == "unload" {
		failure, remedy = "Unload failed", "bootout"
	}
	lines, code := eachPath(req.Paths, "service already loaded", func(path string) codeError {
		j, code := readJob(path)
		if code == 0 && req.Persist {
			if err := r.remember(j.def.Label, req.Verb == "unload"); err != nil {
				r.log.Error("launchd.disabled.unsaved", "error", err)
			}
		}
		switch {
		case r.stopping:
			return codeTearingDown
		case req.Verb == "load":
			return r.loadPath(dom, path, req.Force)
		}
		return r.unloadPath(dom, path)
	})
	if code == 0 {
		return ok()
	}
	if !r.precise(code) {
		lines, code = "", codeIO
	}
	text := fmt.Sprintf("%s%s: %d: %s\n", lines, failure, code, launchd.CodeText(code))
	if !isRoot() {
		text += "Try running `launchctl " + remedy + "` as root for richer errors.\n"
	}
	return reply{Stderr: text}
}

func (r *registry) unloadPath(dom domain, path string) codeError {
	j := r.atPath(dom, path)
	if j == nil {
		return codeNoProcess
	}
	r.step(j, event{kind: bootout})
	return 0
}

// eachPath does something with each plist at paths, and collects the errors
// for the single paths. A directory stands for the plists in it.
func eachPath(paths []string, already string, do func(path string) codeError) (lines string, code int) {
	var b strings.Builder
	for _, path := range expand(paths) {
		err := do(path)
		if err == 0 {
			continue
		}
		text := launchd.CodeText(int(err))
		if err == codeAlready {
			text = already
		}
		fmt.Fprintf(&b, "%s: %s\n", path, text)
		if code != 0 {
			err = codeManyErrors
		}
		code = int(err)
	}
	return b.String(), code
}

func expand(paths []string) []string {
	var list []string
	for _, path := range paths {
		entries, err := os.ReadDir(path) // sorted
		if err != nil {
			list = append(list, path)
			continue
		}
		for _, e := range entries {
			if filepath.Ext(e.Name()) == ".plist" {
				list = append(list, filepath.Join(path, e.Name()))
			}
		}
	}
	return list
}
