// Package emulator is a launchd for one user, in user space: it supervises
// real child processes by the rules of launchd.plist(5), and answers
// launchctl's verbs with launchctl's exit codes and text. It lets a program
// that lives under launchd run, and be tested, where there is no launchd.
//
// A program that offers it needs three lines in main:
//
//	emulator.XPCProxy()                                    // first of all
//	(&emulator.Supervisor{Dir: dir}).Run(ctx)              // "prog launchd"
//	(&emulator.Launchctl{Dir: dir, Start: []string{prog, "launchd"}}).
//		Run(ctx, args, os.Stdout, os.Stderr)           // "prog launchctl ARGS"
//
// and has package launchd run itself instead of launchctl:
//
//	client := &launchd.Client{Command: []string{prog, "launchctl"}}
//
// It builds on Linux and macOS.
//
// # Processes
//
// A [Supervisor] is one process per Dir, held apart by a lock. It is started
// by the first [Launchctl] that needs it, outlives that client, and ends by
// itself when it has had nothing to look after for a while, or when its context
// ends, and takes down its jobs first. A Dir that is deleted or moved away ends
// nothing, until another supervisor is at work in a new one of its name.
// After a crash or kill -9 its jobs live on; the next supervisor in Dir finds
// them in its state file and adopts them, each known by its number, its start
// and the run of the system, so that a clock that was set meanwhile does not
// matter. Only a parent learns how a process ended: the end of an adopted one
// counts as a failure, and print shows it as "(failed reap)".
//
// As on macOS, a job starts as a process named xpcproxy, which sets up
// descriptors, limits and directory, and then becomes the job's program by
// exec. Here it is the supervisor's own executable; see [XPCProxy]. It waits
// until the supervisor has recorded it, so no crash can lose a job.
//
// # Sockets
//
// The supervisor opens a job's Sockets at bootstrap and keeps them until the
// label is free. A connection starts a job that has no process; connections
// that come while it is down, throttled or restarting wait in the kernel's
// queue, and none is refused. The job gets them from [launchd.Listeners]. A
// socket whose port or path is taken does not keep the job from being loaded;
// it is opened as soon as that is possible.
//
// The sockets do not survive a supervisor that is killed. A job that has them
// goes on to serve; the next supervisor opens them again when that job's
// process has ended, and until then connections to a dead job are refused.
//
// # Where behaviour is documented
//
// state.go holds the life of a job as a pure state machine, on one page. What
// no Apple document states is taken from captures of real systems that were
// published; the conformance table of package launchdtest cites them.
//
// # What it does not do
//
// It serves gui/<uid> and user/<uid> of the user that runs it: no system
// domain, no other users, no Mach services, no XPC events, no sandbox, and
// nothing is loaded by itself after a reboot. StartOnMount is read and has no
// effect. Of Sockets it opens listening streams on loopback addresses and at
// paths: a socket without a node is bound to loopback, and datagrams, other
// interfaces, Bonjour, SecureSocketWithKey and inetdCompatibility are left out.
// EnableTransactions makes a job one that is killed without SIGTERM, as there
// are no transactions. A job with LaunchOnlyOnce has one run per load, and
// kickstart of it is refused afterwards.
// WatchPaths and QueueDirectories are looked at twice a second, so a change
// that is undone in between is not seen.
package emulator
