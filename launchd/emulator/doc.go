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
// # Processes
//
// A [Supervisor] is one process per Dir, held apart by a lock. It is started
// by the first [Launchctl] that needs it, outlives that client, and ends by
// itself when it has had nothing to look after for a while, when its context
// ends, or when Dir is deleted; in each case it takes down its jobs first.
// After a crash or kill -9 its jobs live on; the next supervisor in Dir finds
// them in its state file and adopts them by process number and start time.
//
// As on macOS, a job starts as a process named xpcproxy, which sets up
// descriptors, limits and directory, and then becomes the job's program by
// exec. Here it is the supervisor's own executable; see [XPCProxy]. It waits
// until the supervisor has recorded it, so no crash can lose a job.
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
// nothing is loaded by itself after a reboot.
package emulator
