package emulator

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/haltonlabs/halton-meter/launchd"
)

// ok is the answer of a verb that has nothing to say.
func ok() reply { return reply{} }

// failed is launchctl's way to report code for a verb, after lines about the
// single paths. What an unprivileged user is not told is told to root.
func failed(what string, code int, lines string) reply {
	text := fmt.Sprintf("%s%s failed: %d: %s\n", lines, what, code, launchd.CodeText(code))
	if code == codeIO && !isRoot() {
		text += "Try re-running the command as root for richer errors.\n"
	}
	return reply{Code: code, Stderr: text}
}

func noService(label string, dom domain) reply {
	return reply{Code: codeNoService, Stderr: fmt.Sprintf("Could not find service %q in domain for %s\n", label, dom.inErrors())}
}

func noDomain(dom domain) reply {
	return reply{Code: codeNoDomain, Stderr: fmt.Sprintf("Could not find domain for %s\n", dom.inErrors())}
}

// badTarget and usage are libxpc's codes 140 and 117, which launchctl turns
// into 64.
func badTarget(verb string, knobs Knobs) *reply {
	return &reply{Code: codeUsage, Stderr: "Unrecognized target specifier. <service-target> takes a form of <domain-target>/<service-id>.\n" +
		"Please refer to `man launchctl` for explanation of the <domain-target> specifiers.\n" +
		usageLine(verb, knobs)}
}

func usage(verb string, knobs Knobs) *reply {
	return &reply{Code: codeUsage, Stderr: usageLine(verb, knobs)}
}

// verbs are those of the emulator, in the order of help.
var verbs = []struct{ name, args, help string }{
	{"bootstrap", "<domain-target> [service-path, service-path2, ...]", "Bootstraps a domain or a service into a domain."},
	{"bootout", "<domain-target> [service-path1, service-path2, ...] | <service-target>", "Tears down a domain or removes a service from a domain."},
	{"enable", "<service-target>", "Enables an existing service."},
	{"disable", "<service-target>", "Disables an existing service."},
	{"kickstart", "[-k] [-p] [-s] <service-target>", "Forces an existing service to start."},
	{"kill", "<signal-number|signal-name> <service-target>", "Sends a signal to the service instance."},
	{"blame", "<service-target>", "Prints the reason a service is running."},
	{"print", "<domain-target> | <service-target>", "Prints a description of a domain or service."},
	{"print-disabled", "<domain-target>", "Prints which services are disabled."},
	{"list", "[service-name]", "Lists information about services."},
	{"load", "[-wF] [-S <session>] [-D <domain>] <service-path> ...", "Recommended alternatives: bootstrap, enable. Bootstraps a service or directory of services."},
	{"unload", "[-wF] [-S <session>] [-D <domain>] <service-path> ...", "Recommended alternatives: bootout, disable. Unloads a service or directory of services."},
	{"remove", "<service-name>", "Unloads the specified service name."},
	{"start", "<service-name>", "Starts the specified service."},
	{"stop", "<service-name>", "Stops the specified service if it is running."},
	{"setenv", "<key> <value>", "Sets the specified environment variables for all services within the domain."},
	{"unsetenv", "<key>", "Unsets the specified environment variables for all services within the domain."},
	{"getenv", "<key>", "Gets the value of an environment variable from within launchd."},
	{"managername", "", "Prints the name of this launchd session."},
	{"manageruid", "", "Prints the UID of the current launchd session."},
	{"managerpid", "", "Prints the PID of the launchd controlling the session."},
	{"error", "[posix|mach|bootstrap] <code>", "Prints a description of an error."},
	{"variant", "", "Prints the launchd variant."},
	{"version", "", "Prints the launchd version."},
	{"help", "[subcommand]", "Prints the usage for a given subcommand."},
}

func usageLine(verb string, knobs Knobs) string {
	for _, v := range verbs {
		if v.name != verb {
			continue
		}
		args := v.args
		if verb == "bootout" && knobs.os() >= MacOS26 {
			args = "[--wait] " + args
		}
		return strings.TrimSpace(fmt.Sprintf("Usage: launchctl %s %s", verb, args)) + "\n"
	}
	return helpText(knobs)
}

func helpText(Knobs) string {
	var b strings.Builder
	b.WriteString("Usage: launchctl <subcommand> ... | help [subcommand]\n" +
		"Many subcommands take a target specifier that refers to a domain or service\n" +
		"within that domain. The available specifier forms are:\n\n" +
		"system/[service-name]\nuser/<uid>/[service-name]\nlogin/<asid>/[service-name]\n" +
		"gui/<uid>/[service-name]\npid/<pid>/[service-name]\n\nSubcommands:\n")
	for _, v := range verbs {
		fmt.Fprintf(&b, "\t%-15s %s\n", v.name, v.help)
	}
	return b.String()
}

// answerLocally is for the verbs that ask nothing of launchd.
func answerLocally(verb string, args []string, knobs Knobs) *reply {
	switch verb {
	case "help":
		if len(args) == 0 {
			return &reply{Stdout: helpText(knobs)}
		}
		return &reply{Stdout: usageLine(args[0], knobs)}
	case "version":
		return &reply{Stdout: fmt.Sprintf("Darwin Bootstrapper Version 7.0.0 (halton-meter emulator of macOS %d on %s)\n", knobs.os(), runtime.GOOS)}
	case "variant":
		return &reply{Stdout: "RELEASE\n"}
	case "managerpid":
		return &reply{Stdout: "1\n"}
	case "manageruid":
		return &reply{Stdout: fmt.Sprintln(os.Getuid())}
	}
	return answerError(args, knobs)
}

func answerError(args []string, knobs Knobs) *reply {
	if len(args) == 2 && (args[0] == "posix" || args[0] == "bootstrap") {
		args = args[1:]
	}
	if len(args) != 1 {
		return usage("error", knobs)
	}
	code, err := strconv.Atoi(args[0])
	if err != nil {
		return usage("error", knobs)
	}
	return &reply{Stdout: fmt.Sprintf("%d: %s\n", code, launchd.CodeText(code))}
}
