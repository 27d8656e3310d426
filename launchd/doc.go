// Package launchd installs, runs and watches macOS agents and daemons: it
// reads and writes launchd.plist(5) files, runs launchctl(1), and makes sense
// of what launchctl answers. It is pure Go and builds on macOS, Linux and the
// BSDs, though not on Windows; package launchd/emulator is a launchd for Linux,
// and package launchd/launchdtest a private one for each test.
//
// The smallest agent that is always on:
//
//	job := &launchd.Job{
//		Label: "com.example.agent", ProgramArguments: []string{"/usr/local/bin/agent"},
//		KeepAlive: launchd.AlwaysOn(), StandardErrorPath: "/tmp/agent.log",
//	}
//	path := filepath.Join(home, "Library/LaunchAgents/com.example.agent.plist")
//	_, err := new(launchd.Client).Apply(ctx, launchd.GUI(os.Getuid()), path, job, launchd.LoadOptions{})
//
// The program examples/agent of this module is a complete one: it installs,
// restarts and removes itself.
//
// # Jobs
//
// A [Job] has a field for each key of launchd.plist(5), and keeps every other
// key, so that [ParseJob] and [Job.Encode] together lose nothing. What is nil
// or "" is absent. Keys with several forms have a type for it: [KeepAlive],
// [OneOrMany], [IntOrString], [MachService], [Bonjour]. [AlwaysOn],
// [RestartAfterFailure], [Every], [Daily], [Weekly], [ListenTCP] and
// [ListenUnix] say the usual things shortly.
//
// launchd is silent about most mistakes: it ignores the key, or never starts
// the job. [Job.Validate] names each, with why and what to write instead, and
// [Job.WriteFile] refuses a job that has one. Input may be hostile: ParseJob
// bounds size, depth and growth.
//
// # Targets
//
// A [DomainTarget] is where jobs live: [GUI] for the agents of a logged-in
// user, [System] for daemons, [User] for agents without a session. A
// [ServiceTarget] is a job in one of them. They are two types, because
// "launchctl bootout gui/501" without a label ends the user's whole session.
// Labels are checked when a target is made, and nothing is run for the zero
// value of either.
//
// # Clients
//
// The zero [Client] runs /bin/launchctl. Each call is a process of its own; it
// ends with its context or with [Client].Timeout, whichever is first, so no
// call hangs. Nothing runs in the background and there is nothing to close. A
// Client may be shared by goroutines.
//
// [Client.Apply], [Client.Remove] and [Client.Restart] are what an installer
// needs: each may be repeated, and by several processes at once. [Client.Load]
// is the part of Apply that brings a plist into launchd. The other methods are
// launchctl's verbs.
//
// # Loading again and again
//
// launchctl bootout returns while the job still gets its SIGTERM, and a
// bootstrap in that time fails. Since macOS 12 it fails with code 5,
// "Input/output error", as does nearly everything else that can go wrong. So a blind
// retry hammers at permanent errors, and no retry loses a common race.
//
// [Client.Bootout] therefore waits until the label is free. Load looks before
// it tries again: at the loaded job, at the list of disabled labels, at the
// plist file. It waits for a teardown, takes an equal job for a success, boots
// out another one, and gives up at once on a cause that no retry cures. Only
// what stays unexplained is tried again, with growing waits, within
// [LoadOptions].Budget; after that [LoadOptions].Postmortem has all that a
// person would ask for.
//
// A success of bootstrap means registered, not started: launchd may put off a
// start for good, to save power. Load kickstarts such a job.
//
// # Sockets
//
// launchd listens for a job that has [Job].Sockets and starts it for the first
// connection; the job takes the sockets with [Listeners]. No connection is
// refused while it restarts. From the load to the unload the port is taken, for
// the installer too: one that chooses ports keeps to that of a loaded job.
//
// # Errors
//
// A launchctl that fails gives an [Error] with its code, which is Darwin's
// errno or libxpc's, whatever system this runs on. Branch on its class with
// errors.Is:
//
//	ErrNotLoaded      the label is unknown; for Bootout and Remove a success
//	ErrNotRunning     it is loaded and has no process
//	ErrAlreadyLoaded  the label is taken
//	ErrInFlux         launchd is at work on it: try again
//	ErrDisabled       somebody disabled the label: Client.Enable
//	ErrNoDomain       nobody is logged in; not the same as not installed
//	ErrBadPlist       launchd never takes this plist: see the Problem in it
//	ErrPermission     another user has to do it
//	ErrPolicy         a person has to allow it in System Settings
//	ErrNoAnswer       launchctl hung and was ended
//	ErrBadTarget      the label or domain is malformed; nothing was run
//
// Where there is no launchctl, as on Linux without the emulator, the error of
// the zero Client is an [os.ErrNotExist]. Package emulator has one to put into
// [Client].Command.
//
// # What launchctl prints
//
// Apple calls the output of launchctl print "not API in any sense at all". The
// parsers take what they know of macOS 12 to 26, leave the other fields empty,
// and keep the text in Fields and Blocks; [Client.Load] and [Client.Bootout]
// go on without what they cannot read.
//
// # What it does not do
//
// It does not register an app's embedded jobs (SMAppService), does not ask for
// privileges, does not change the owner of files, and does not speak XPC: all
// goes through launchctl. Nobody has run it on each macOS release; what it
// assumes of them is in the conformance table of launchdtest, with evidence,
// and can be run on a Mac.
//
// # Stability
//
// The package follows the module's version: within a major version exported
// names stay and mean the same. New plist keys become fields, and then leave
// [Job].Extra. Which texts are in an Error's message is no promise.
package launchd
