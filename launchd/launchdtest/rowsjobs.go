package launchdtest

import "github.com/haltonlabs/halton-meter/launchd/emulator"

const (
	exits75 = `<key>ProgramArguments</key><array><string>/bin/sh</string><string>-c</string><string>exit 75</string></array>`
	// deaf ignores SIGTERM for good.
	deaf = `<key>ProgramArguments</key><array><string>/bin/sh</string><string>-c</string><string>trap "" TERM; : &gt;"{ready}"; exec sleep 1000</string></array>
<key>RunAtLoad</key><true/>
<key>ThrottleInterval</key><integer>1</integer>
<key>ExitTimeOut</key><integer>1</integer>`
)

// jobRows are about what a job's life looks like from outside.
func jobRows() []Row {
	running := Step{Args: "print {target}", Codes: zero, Stdout: "\tstate = running\n", Await: true}
	return []Row{
		{
			Name: "what a job gets without asking", Evidence: "every published print of macOS 12 and newer",
			Steps: []Step{
				loaded,
				{Args: "print {target}", Codes: zero, Stdout: "\texit timeout = 5\n"},
				{Args: "print {target}", Codes: zero, Stdout: "\truns = 0\n"},
				{Args: "print {target}", Codes: zero, Stdout: "\t\tPATH => /usr/bin:/bin:/usr/sbin:/sbin\n"},
				{Args: "print {target}", Codes: zero, Stdout: "\t\tXPC_SERVICE_NAME => {label}\n"},
			},
		},
		{
			Name: "the default throttle", Evidence: plistPage + "; every published print", Plist: missingProgram,
			Steps: []Step{loaded, {Args: "print {target}", Codes: zero, Stdout: "\tminimum runtime = 10\n"}},
		},
		{
			Name: "a umask is decimal in the plist and octal in print", Evidence: plistPage + "; the printer's format %o in dumps of launchd",
			Plist: sleeper + `<key>Umask</key><integer>18</integer>`,
			Steps: []Step{loaded, {Args: "print {target}", Codes: zero, Stdout: "\tumask = 22\n"}},
		},
		{
			Name: "an exit code in its three forms", Evidence: "captures of macOS 26.5.1; 19200 is 75 as wait(2) has it",
			Plist: exits75 + `<key>RunAtLoad</key><true/>`,
			Steps: []Step{
				loaded,
				{Args: "print {target}", Codes: zero, Stdout: "\tlast exit code = 75: EX_TEMPFAIL\n", Await: true},
				{Args: "list {label}", Codes: zero, Stdout: "\t\"LastExitStatus\" = 19200;\n"},
				{Args: "list", Codes: zero, Stdout: "-\t75\t{label}\n"},
			},
		},
		{
			Name: "a new bootstrap forgets the old runs", Evidence: "capture of macOS 26.6, adaex/mihomo-cli", Plist: keepAlive,
			Steps: []Step{
				loaded,
				running,
				{Args: "bootout {target}", Codes: []int{0, 36}},
				{Args: "print {target}", Codes: []int{113}, Await: true},
				loaded,
				running,
				{Args: "print {target}", Codes: zero, Stdout: "\truns = 1\n"},
				{Args: "print {target}", Codes: zero, Stdout: "\tlast exit code = (never exited)\n"},
			},
		},
		{
			Name: "SuccessfulExit starts at load", Evidence: plistPage + "; captures of jobs with RunAtLoad false",
			Plist: sleeper + `<key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>`,
			Steps: []Step{
				loaded,
				running,
				{Args: "print {target}", Codes: zero, Stdout: "\tsemaphores = {\n\t\tsuccessful exit => 0\n\t}\n"},
			},
		},
		{
			Name: "AfterInitialDemand does not start at load", Evidence: "captures of jobs with AfterInitialDemand; core.c of launchd-842",
			Plist: sleeper + `<key>KeepAlive</key><dict><key>SuccessfulExit</key><false/><key>AfterInitialDemand</key><true/></dict>`,
			Steps: []Step{
				loaded,
				{Args: "print {target}", Codes: zero, Stdout: "\tstate = not running\n"},
				{Args: "kickstart {target}", Codes: zero},
				running,
			},
		},
		{
			Name: "disable leaves a running job alone", Evidence: manPage + " on disable", Plist: keepAlive,
			Steps: []Step{
				loaded,
				running,
				{Args: "disable {target}", Codes: zero},
				{Args: "print {target}", Codes: zero, Stdout: "\tstate = running\n"},
				{Args: "enable {target}", Codes: zero},
			},
		},
		{
			Name: "an override record alone is no service", Evidence: mihomo, NoFile: true,
			Steps: []Step{
				{Args: "disable {target}", Codes: zero},
				{Args: "print {target}", Codes: []int{113}},
				{Args: "enable {target}", Codes: zero},
			},
		},
		{
			Name: "kickstart -k waits, and kills after the exit timeout", Evidence: "captures of macOS 26.5: a drain of 1.2 s took 1.211 s, one of 8 s with ExitTimeOut 3 took 3.012 s", Plist: deaf,
			Steps: []Step{
				loaded,
				{Ready: true},
				running,
				{Args: "kickstart -k {target}", Codes: zero},
				{Args: "print {target}", Codes: zero, Stdout: "\tlast terminating signal = Killed: 9\n"},
				{Args: "print {target}", Codes: zero, Stdout: "\truns = 2\n", Await: true},
			},
		},
		{
			Name: "bootout --wait", Evidence: "home-manager's launchd module, which uses it from macOS 26 on", MinOS: emulator.MacOS26, Plist: keepAlive,
			Steps: []Step{
				loaded,
				running,
				{Args: "bootout --wait {target}", Codes: zero},
				{Args: "print {target}", Codes: []int{113}},
			},
		},
		{
			Name: "bootout --wait before macOS 26", Evidence: "report of home-manager's users: taken for a target", MaxOS: emulator.MacOS15,
			Steps: []Step{{Args: "bootout --wait {target}", Codes: []int{64}, Stderr: "Unrecognized target specifier."}},
		},
		{
			Name: "blame", Evidence: procursus + "; captures of blame",
			Steps: []Step{
				loaded,
				{Args: "blame {target}", Codes: []int{3}, Stderr: "No process to signal."},
				{Args: "kickstart {target}", Codes: zero},
				running,
				{Args: "blame {target}", Codes: zero, Stdout: "non-ipc demand\n"},
			},
		},
	}
}

// legacyRows are about the verbs without targets.
func legacyRows() []Row {
	return []Row{
		{
			Name: "load and unload always succeed", Evidence: manPage + `: "will only return a non-zero exit code due to improper usage"`,
			Steps: []Step{
				{Args: "load {plist}", Codes: zero, Stderr: "nothing"},
				{Args: "load {plist}", Codes: zero, Stderr: "Load failed: |service already loaded"},
				{Args: "unload {plist}", Codes: zero, Stderr: "nothing"},
				{Args: "print {target}", Codes: []int{113}, Await: true},
				{Args: "unload {plist}", Codes: zero, Stderr: "Unload failed: |Could not find"},
			},
		},
		{
			Name: "load without a path", Evidence: procursus,
			Steps: []Step{{Args: "load", Codes: []int{64}}},
		},
		{
			Name: "load of a plist that others can write", Evidence: "captures of load: 122 as root, 5 as user", Mode: 0o666,
			Steps: []Step{
				{Args: "load {plist}", Codes: zero, Stderr: "Load failed: 122: Path had bad ownership/permissions|Load failed: 5: Input/output error"},
				{Args: "print {target}", Codes: []int{113}},
			},
		},
		{
			Name: "unload -w disables and load -w enables", Evidence: manPage + " on -w",
			Steps: []Step{
				{Args: "load {plist}", Codes: zero},
				{Args: "unload -w {plist}", Codes: zero},
				{Args: "print {target}", Codes: []int{113}, Await: true},
				{Args: "print-disabled {domain}", Codes: zero, Stdout: "\"{label}\" => disabled|\"{label}\" => true"},
				{Args: "load -w {plist}", Codes: zero},
				{Args: "print-disabled {domain}", Codes: zero, Stdout: "\"{label}\" => enabled|\"{label}\" => false"},
				{Args: "print {target}", Codes: zero},
			},
		},
		{
			Name: "start and stop", Evidence: "nix-installer: \"a status code of 3 was reported\"; " + procursus,
			Steps: []Step{
				loaded,
				{Args: "stop {label}", Codes: []int{3}},
				{Args: "start {label}", Codes: zero},
				{Args: "print {target}", Codes: zero, Stdout: "\tstate = running\n", Await: true},
				{Args: "start {label}", Codes: zero},
				{Args: "stop {label}", Codes: zero},
				{Args: "print {target}", Codes: zero, Stdout: "\tlast terminating signal = Terminated: 15\n", Await: true},
			},
		},
		{
			Name: "start of an unknown label", Evidence: procursus + ", which passes on launchd's code",
			Steps: []Step{{Args: "start {label}", Codes: []int{3, 113}}},
		},
		{
			Name: "remove", Evidence: procursus + ", which makes 0 of 113",
			Steps: []Step{
				{Args: "remove {label}", Codes: zero},
				loaded,
				{Args: "remove {label}", Codes: zero},
				{Args: "print {target}", Codes: []int{113}, Await: true},
			},
		},
	}
}

// preciseRows are about the codes that launchd's own log has.
func preciseRows() []Row {
	precise := &emulator.Knobs{PreciseErrors: true}
	return []Row{
		{
			Name: "119 of a disabled service", Evidence: "the cask of lima's socket_vmnet", Knobs: precise,
			Steps: []Step{
				{Args: "disable {target}", Codes: zero},
				{Args: "bootstrap {domain} {plist}", Codes: []int{119}, Stderr: "{plist}: Service is disabled\nBootstrap failed: 119: Service is disabled\n"},
				{Args: "enable {target}", Codes: zero},
			},
		},
		{
			Name: "122 of a plist that others can write", Evidence: "captures of load as root", Mode: 0o622, Knobs: precise,
			Steps: []Step{{Args: "bootstrap {domain} {plist}", Codes: []int{122}, Stderr: "{plist}: Path had bad ownership/permissions\n"}},
		},
		{
			Name: "134 of another session type", Evidence: "unified log of macOS 15.7.5", Knobs: precise,
			Plist: sleeper + `<key>LimitLoadToSessionType</key><string>LoginWindow</string>`,
			Steps: []Step{{Args: "bootstrap {domain} {plist}", Codes: []int{134}, Stderr: "Service cannot load in requested session"}},
		},
		{
			Name: "161 of a job that the user has not approved", Evidence: "unified log of macOS 26.5.1", Knobs: &emulator.Knobs{PreciseErrors: true, Blocked: []string{conformanceLabel}},
			Steps: []Step{{Args: "bootstrap {domain} {plist}", Codes: []int{161}, Stderr: "Service cannot be launched because of BTM policy"}},
		},
		{
			Name: "133 of several paths", Evidence: procursus, Knobs: precise,
			Steps: []Step{
				loaded,
				{Args: "bootstrap {domain} {plist} {plist}", Codes: []int{133}, Stderr: "{plist}: service already bootstrapped\n{plist}: service already bootstrapped\nBootstrap failed: 133: Multiple errors were returned; see stderr\n"},
			},
		},
	}
}
