package emulator

import (
	"fmt"
	"strconv"
	"strings"
)

// request is what a launchctl command line asks of launchd.
type request struct {
	Verb   string
	Domain domain
	Label  string   `json:",omitzero"`
	Paths  []string `json:",omitzero"`
	Signal int      `json:",omitzero"` // of this system
	Key    string   `json:",omitzero"`
	Value  string   `json:",omitzero"`
	// The flags: kickstart -k and -p, bootout --wait.
	Kill    bool `json:",omitzero"`
	ShowPID bool `json:",omitzero"`
	Wait    bool `json:",omitzero"`
	// Those of load and unload: -w, -F, -S.
	Persist bool   `json:",omitzero"`
	Force   bool   `json:",omitzero"`
	Session string `json:",omitzero"`
	// TTY says that the answer goes to a person.
	TTY bool `json:",omitzero"`
}

// verbStop is no verb of launchctl: it ends the supervisor; see [Stop].
const verbStop = "\x00stop"

// domain is a domain target; Kind is system, user, login, gui or pid.
type domain struct {
	Kind string
	ID   int
}

// String is the form that targets have.
func (d domain) String() string {
	if d.Kind == "system" {
		return d.Kind
	}
	return fmt.Sprintf("%s/%d", d.Kind, d.ID)
}

// inErrors is the form that launchctl's error messages have.
func (d domain) inErrors() string {
	switch d.Kind {
	case "system":
		return "system"
	case "user":
		return fmt.Sprintf("uid: %d", d.ID)
	case "gui":
		return fmt.Sprintf("user gui: %d", d.ID)
	}
	return fmt.Sprintf("%s: %d", d.Kind, d.ID)
}

func (r request) target() string { return r.Domain.String() + "/" + r.Label }

// The codes of libxpc that the emulator answers with.
const (
	codeNotPermitted  = 1
	codeNoProcess     = 3
	codeIO            = 5
	codeInProgress    = 36
	codeAlready       = 37
	codeUsage         = 64
	codeInvalidPlist  = 109
	codeNoLabel       = 110
	codeNoProgram     = 111
	codeNoDomain      = 112
	codeNoService     = 113
	codeBadResponse   = 118
	codeDisabled      = 119
	codeBadOwner      = 122
	codeTearingDown   = 124
	codeNoAction      = 125
	codeManyErrors    = 133
	codeWrongSession  = 134
	codeNotNow        = 139
	codeBlockedPolicy = 161
	codeNoEntry       = 2
)

// reply is launchctl's answer: exit code and text.
type reply struct {
	Code   int
	Stdout string `json:",omitzero"`
	Stderr string `json:",omitzero"`
}

// parseArgs reads launchctl's arguments. If it returns a reply, that is the
// answer, and nobody else needs to be asked.
func parseArgs(args []string, knobs Knobs) (request, *reply) {
	if len(args) == 0 {
		return request{}, &reply{Code: 1, Stderr: helpText(knobs)}
	}
	verb, args := args[0], args[1:]
	r := request{Verb: verb}
	switch verb {
	case "help", "version", "variant", "error", "managerpid", "manageruid":
		return r, answerLocally(verb, args, knobs)
	case "managername":
		return r, nil
	case "list":
		switch {
		case len(args) == 1 && !strings.HasPrefix(args[0], "-"):
			r.Label = args[0]
		case len(args) > 0:
			return r, usage(verb, knobs)
		}
		return r, nil
	case "setenv":
		// launchctl takes pairs; nobody uses more than one.
		if len(args) != 2 {
			return r, usage(verb, knobs)
		}
		r.Key, r.Value = args[0], args[1]
		return r, nil
	case "getenv", "unsetenv":
		if len(args) != 1 {
			return r, usage(verb, knobs)
		}
		r.Key = args[0]
		return r, nil
	case "bootstrap", "bootout", "print", "print-disabled", "enable", "disable", "kickstart", "kill", "blame":
		return parseTarget(r, args, knobs)
	case "load", "unload", "start", "stop", "remove":
		return parseLegacy(r, args, knobs)
	}
	return r, &reply{Code: 1, Stderr: "Unrecognized subcommand: " + verb + "\n" + helpText(knobs)}
}

// parseTarget reads the arguments of the verbs that take a target.
func parseTarget(r request, args []string, knobs Knobs) (request, *reply) {
	args, bad := r.flags(args, knobs)
	if bad != nil {
		return r, bad
	}
	if r.Verb == "kill" {
		if len(args) != 2 {
			return r, usage(r.Verb, knobs)
		}
		sig, ok := parseSignal(args[0])
		if !ok {
			return r, usage(r.Verb, knobs)
		}
		r.Signal, args = int(sig), args[1:]
	}
	if len(args) == 0 {
		return r, usage(r.Verb, knobs)
	}
	dom, label, ok := parseTargetSpec(args[0])
	if !ok {
		return r, badTarget(r.Verb, knobs)
	}
	r.Domain, r.Label, r.Paths = dom, label, args[1:]
	if len(r.Paths) > 0 && (label != "" || (r.Verb != "bootstrap" && r.Verb != "bootout")) {
		return r, usage(r.Verb, knobs)
	}
	switch r.Verb {
	case "bootstrap", "print-disabled":
		if label != "" {
			return r, badTarget(r.Verb, knobs)
		}
	case "bootout", "print":
		if r.Wait && label == "" {
			return r, badTarget(r.Verb, knobs)
		}
	default:
		if label == "" {
			return r, badTarget(r.Verb, knobs)
		}
	}
	return r, nil
}

// flags takes the flags off args.
func (r *request) flags(args []string, knobs Knobs) ([]string, *reply) {
	switch r.Verb {
	case "bootout":
		if len(args) > 0 && args[0] == "--wait" && knobs.os() >= MacOS26 {
			r.Wait = true
			return args[1:], nil
		}
	case "kickstart":
		for len(args) > 0 && strings.HasPrefix(args[0], "-") && len(args[0]) > 1 {
			for _, flag := range args[0][1:] {
				switch flag {
				case 'k':
					r.Kill = true
				case 'p':
					r.ShowPID = true
				case 's': // start suspended: there is no debugger to wait for
				default:
					return nil, usage(r.Verb, knobs)
				}
			}
			args = args[1:]
		}
	}
	return args, nil
}

// parseTargetSpec reads <domain-target>[/<service-id>].
func parseTargetSpec(s string) (dom domain, label string, ok bool) {
	kind, rest, slash := strings.Cut(s, "/")
	switch kind {
	case "system":
		return domain{Kind: kind}, rest, !slash || rest != ""
	case "user", "login", "gui", "pid":
		id, label, slash := strings.Cut(rest, "/")
		n, err := strconv.ParseUint(id, 10, 32)
		return domain{Kind: kind, ID: int(n)}, label, err == nil && (!slash || label != "")
	}
	return domain{}, "", false
}
