package launchdtest

import (
	"slices"
	"time"

	"github.com/haltonlabs/halton-meter/launchd/emulator"
)

const (
	// stubborn is a job that ignores SIGTERM for longer than a row takes.
	stubborn = `<key>ProgramArguments</key><array><string>/bin/sh</string><string>-c</string><string>trap "" TERM; : &gt;"{ready}"; while :; do sleep 1; done</string></array>
<key>RunAtLoad</key><true/>
<key>ExitTimeOut</key><integer>3</integer>`
	missingProgram = `<key>ProgramArguments</key><array><string>/no/such/program</string></array>
<key>RunAtLoad</key><true/>`
	keepAlive = sleeper + `<key>KeepAlive</key><true/>`
)

// Where the same captures back several rows.
const (
	mihomo    = "captures of macOS 15, 26.5 and 26.6, adaex/mihomo-cli"
	procursus = "source of ProcursusTeam/launchctl, a reimplementation of the client"
	manPage   = "launchctl(1)"
	plistPage = "launchd.plist(5)"
)

var (
	zero   = []int{0}
	loaded = Step{Args: "bootstrap {domain} {plist}", Codes: zero, Stderr: "nothing"}
)

// Rows is the conformance table. It asks only for what was seen in the field,
// so a real launchctl that fails a row is news. What needs another user's
// rights or a system policy is not in it: Operation not permitted (1), System
// Integrity Protection (150), and the kickstart -k that fails now and then.
func Rows() []Row {
	return slices.Concat(answerRows(), jobRows(), legacyRows(), preciseRows())
}

// answerRows are about what launchctl says.
func answerRows() []Row {
	return []Row{
		{
			Name: "print of an unknown label", Evidence: mihomo, MinOS: emulator.MacOS13,
			Steps: []Step{
				{Args: "print {target}", Codes: []int{113}, Stderr: "Bad request.\nCould not find service \"{label}\" in domain for user gui: {uid}"},
			},
		},
		{
			Name: "print of an unknown domain", Evidence: mihomo,
			Steps: []Step{{Args: "print gui/99999", Codes: []int{112}, Stderr: "Could not find domain for user gui: 99999"}},
		},
		{
			Name: "malformed target", Evidence: "capture of macOS 26.5; " + procursus,
			Steps: []Step{
				{Args: "print nonsense", Codes: []int{64}, Stderr: "Unrecognized target specifier. <service-target> takes a form of <domain-target>/<service-id>.\nPlease refer to `man launchctl` for explanation of the <domain-target> specifiers.\n"},
				{Args: "kickstart {domain}", Codes: []int{64}, Stderr: "Unrecognized target specifier."},
			},
		},
		{
			Name: "bootstrap takes no service target", Evidence: procursus,
			Steps: []Step{{Args: "bootstrap {target}", Codes: []int{64}}},
		},
		{
			Name: "unknown subcommand", Evidence: procursus,
			Steps: []Step{{Args: "frobnicate", Codes: []int{1}, Stderr: "Unrecognized subcommand: frobnicate"}},
		},
		{
			Name: "bootstrap registers and does not start", Evidence: manPage + "; " + plistPage + " on RunAtLoad",
			Steps: []Step{
				loaded,
				{Args: "print {target}", Codes: zero, Stdout: "{target} = {\n\tactive count = 0\n\tpath = {plist}\n\ttype = LaunchAgent\n\tstate = not running\n"},
				{Args: "print {target}", Codes: zero, Stdout: "\tlast exit code = (never exited)\n"},
			},
		},
		{
			Name: "KeepAlive starts at load", Evidence: plistPage + "; captures with immediate reason = speculative", Plist: keepAlive,
			Steps: []Step{
				loaded,
				{Args: "print {target}", Codes: zero, Stdout: "\tstate = running\n", Await: true},
			},
		},
		{
			Name: "bootstrap of a loaded service", Evidence: "capture of macOS 15; atomantic/PortOS#1658; Homebrew/homebrew-core#132781 for 37",
			Steps: []Step{loaded, {Args: "bootstrap {domain} {plist}", Codes: []int{5, 17, 37}, Stderr: "Bootstrap failed: "}},
		},
		{
			Name: "bootout returns before the job has ended", Evidence: "Layr-Labs/d-inference#1102, with the unified log of macOS 27; kxn/codex-remote-feishu#916", Plist: stubborn,
			Steps: []Step{
				loaded,
				{Ready: true},
				{Args: "print {target}", Codes: zero, Stdout: "\tstate = running\n", Await: true},
				{Args: "bootout {target}", Codes: []int{0, 36}},
				{Args: "print {target}", Codes: zero, Stdout: "\tstate = SIGTERMed\n"},
				{Args: "bootstrap {domain} {plist}", Codes: []int{5, 37}, Stderr: "Bootstrap failed: "},
				{Args: "print {target}", Codes: []int{113}, Await: true},
				loaded,
			},
		},
		{
			Name: "bootstrap of a disabled service", Evidence: "5: capture of macOS 26.6, adaex/mihomo-cli; 119: the cask of lima's socket_vmnet",
			Steps: []Step{
				{Args: "disable {target}", Codes: zero},
				{Args: "print-disabled {domain}", Codes: zero, Stdout: "\"{label}\" => disabled|\"{label}\" => true"},
				{Args: "bootstrap {domain} {plist}", Codes: []int{5, 119}, Stderr: "Bootstrap failed: "},
				{Args: "enable {target}", Codes: zero},
				loaded,
			},
		},
		{
			Name: "bootstrap of a plist that others can write", Evidence: manPage + "; captures of load: 122 as root, 5 as user", Mode: 0o666,
			Steps: []Step{{Args: "bootstrap {domain} {plist}", Codes: []int{5, 122}, Stderr: "Bootstrap failed: "}},
		},
		{
			Name: "bootstrap of a missing file", Evidence: "several issues: NousResearch/hermes-agent, openclaw/openclaw", NoFile: true,
			Steps: []Step{{Args: "bootstrap {domain} {plist}", Codes: []int{5}, Stderr: "Bootstrap failed: 5: Input/output error"}},
		},
		{
			Name: "bootstrap of a job for another session type", Evidence: "capture of macOS 15.7.5: 134 in the log, 5 to the user",
			Plist: sleeper + `<key>LimitLoadToSessionType</key><string>LoginWindow</string>`,
			Steps: []Step{{Args: "bootstrap {domain} {plist}", Codes: []int{5, 134}, Stderr: "Bootstrap failed: "}},
		},
		{
			Name: "an unprivileged user is told where to learn more", Evidence: "atomantic/PortOS#1658", User: true,
			Steps: []Step{loaded, {Args: "bootstrap {domain} {plist}", Codes: []int{5}, Stderr: "Try re-running the command as root for richer errors."}},
		},
		{
			Name: "bootout of an unknown label", Evidence: "captures of macOS 26.5.1 and 26.6",
			Steps: []Step{{Args: "bootout {target}", Codes: []int{3}, Stderr: "Boot-out failed: 3: No such process"}},
		},
		{
			Name: "bootout by path of a service that is not loaded", Evidence: "capture of macOS 15; KiwiDesk#328",
			Steps: []Step{{Args: "bootout {domain} {plist}", Codes: []int{5}, Stderr: "Boot-out failed: 5: Input/output error"}},
		},
		{
			Name: "kickstart of an unknown label", Evidence: "NousResearch/hermes-agent#5536",
			Steps: []Step{{Args: "kickstart {target}", Codes: []int{113}, Stderr: "Could not find service"}},
		},
		{
			Name: "kickstart of a running job", Evidence: "field reports say 0, " + procursus + " 37",
			Steps: []Step{
				loaded,
				{Args: "kickstart -p {target}", Codes: zero, Stdout: "number"},
				{Args: "print {target}", Codes: zero, Stdout: "\timmediate reason = non-ipc demand\n"},
				{Args: "kickstart {target}", Codes: []int{0, 37}},
				{Args: "kickstart -k {target}", Codes: zero},
			},
		},
		{
			Name: "kill without a process", Evidence: procursus,
			Steps: []Step{loaded, {Args: "kill TERM {target}", Codes: []int{3}, Stderr: "No process to signal."}},
		},
		{
			Name: "kill with a signal", Evidence: manPage,
			Steps: []Step{
				loaded,
				{Args: "kickstart {target}", Codes: zero},
				{Args: "print {target}", Codes: zero, Stdout: "\tstate = running\n", Await: true},
				{Args: "kill SIGTERM {target}", Codes: zero},
				{Args: "print {target}", Codes: zero, Stdout: "\tlast terminating signal = Terminated: 15\n", Await: true},
			},
		},
		{
			Name: "enable and disable do not need a service", Evidence: "captures of macOS 26.6; " + manPage,
			Steps: []Step{{Args: "disable {target}", Codes: zero}, {Args: "enable {target}", Codes: zero}},
		},
		{
			Name: "a missing program is exit code 78", Evidence: "captures with runs = 22138 and 78: EX_CONFIG", Plist: missingProgram,
			Steps: []Step{
				loaded,
				{Args: "print {target}", Codes: zero, Stdout: "\tlast exit code = 78: EX_CONFIG\n", Await: true},
			},
		},
		{
			Name: "setenv of half a pair", Evidence: procursus,
			Steps: []Step{{Args: "setenv HALTON_CONFORMANCE", Codes: []int{64}}},
		},
		{
			Name: "getenv of nothing succeeds", Evidence: procursus,
			Steps: []Step{
				{Args: "getenv HALTON_CONFORMANCE", Codes: zero, Stdout: "nothing"},
				{Args: "setenv HALTON_CONFORMANCE on", Codes: zero},
				{Args: "getenv HALTON_CONFORMANCE", Codes: zero, Stdout: "on\n"},
				{Args: "unsetenv HALTON_CONFORMANCE", Codes: zero},
				{Args: "getenv HALTON_CONFORMANCE", Codes: zero, Stdout: "nothing"},
			},
		},
		{
			Name: "list of an unknown label", Evidence: "captures of many releases",
			Steps: []Step{{Args: "list {label}", Codes: []int{113}, Stderr: "Could not find service \"{label}\" in domain for port"}},
		},
		{
			Name: "list of a label", Evidence: "captures of many releases",
			Steps: []Step{
				loaded,
				{Args: "list {label}", Codes: zero, Stdout: "\t\"LastExitStatus\" = 0;\n"},
				{Args: "list", Codes: zero, Stdout: "PID\tStatus\tLabel\n"},
			},
		},
		{
			Name: "error", Evidence: procursus,
			Steps: []Step{{Args: "error 113", Codes: zero, Stdout: "113: Could not find specified service\n"}},
		},
		{
			Name: "a user without a graphical session", Evidence: "adaex/mihomo-cli; respawn-llc/kent#174", Knobs: &emulator.Knobs{NoGUI: true},
			Steps: []Step{
				{Args: "print {target}", Codes: []int{112}, Stderr: "Could not find domain for user gui: {uid}"},
				{Args: "bootstrap {domain} {plist}", Codes: []int{125}, Stderr: "Bootstrap failed: 125: Domain does not support specified action"},
				{Args: "managername", Codes: zero, Stdout: "Background\n"},
			},
		},
		{
			Name: "gui/0", Evidence: "capture of macOS 26.6, adaex/mihomo-cli", Root: true, Knobs: &emulator.Knobs{NoRootGUI: true},
			Steps: []Step{
				{Args: "print {target}", Codes: []int{125}, Stderr: "Domain does not support specified action"},
				{Args: "bootstrap {domain} {plist}", Codes: []int{125}, Stderr: "Bootstrap failed: 125: Domain does not support specified action"},
			},
		},
		{
			Name: "a start that is put off", Evidence: "capture of August 2026 with runs = 0 after bootstrap", Plist: keepAlive, Knobs: &emulator.Knobs{PendSpawns: "speculative"},
			Steps: []Step{
				loaded,
				{Args: "print {target}", Codes: zero, Stdout: "\tpended nondemand spawn = speculative\n"},
				{Args: "kickstart -p {target}", Codes: zero, Stdout: "number"},
			},
		},
		{
			Name: "bootout before macOS 12", Evidence: "the installers of Homebrew and Nix filter this message", Plist: keepAlive, Knobs: &emulator.Knobs{BootoutInProgress: true},
			Steps: []Step{
				loaded,
				{Args: "print {target}", Codes: zero, Stdout: "\tstate = running\n", Await: true},
				{Args: "bootout {target}", Codes: []int{36}, Stderr: "Boot-out failed: 36: Operation now in progress"},
				{Args: "print {target}", Codes: []int{113}, Await: true},
			},
		},
		{
			Name: "a label that is free only later", Evidence: "Layr-Labs/d-inference#1102: 3 s", Knobs: &emulator.Knobs{TeardownDelay: 2 * time.Second},
			Steps: []Step{
				loaded,
				{Args: "bootout {target}", Codes: zero},
				{Args: "bootstrap {domain} {plist}", Codes: []int{5}},
				{Args: "print {target}", Codes: []int{113}, Await: true},
				loaded,
			},
		},
		{
			Name: "kickstart of a running job, as its source has it", Evidence: procursus, Plist: keepAlive, Knobs: &emulator.Knobs{KickstartRunning: 37},
			Steps: []Step{
				loaded,
				{Args: "print {target}", Codes: zero, Stdout: "\tstate = running\n", Await: true},
				{Args: "kickstart {target}", Codes: []int{37}, Stderr: "nothing"},
			},
		},
		{
			Name: "a job that the user has not approved", Evidence: "161 in the unified log, macOS 26.5.1; 113 from print", Knobs: &emulator.Knobs{Blocked: []string{conformanceLabel}},
			Steps: []Step{
				{Args: "bootstrap {domain} {plist}", Codes: []int{5}},
				{Args: "print {target}", Codes: []int{113}},
			},
		},
		{
			Name: "precise errors", Evidence: "Homebrew/homebrew-core#132781; " + procursus, Knobs: &emulator.Knobs{PreciseErrors: true},
			Steps: []Step{
				loaded,
				{Args: "bootstrap {domain} {plist}", Codes: []int{37}, Stderr: "{plist}: service already bootstrapped\nBootstrap failed: 37: Operation already in progress\n"},
			},
		},
	}
}
