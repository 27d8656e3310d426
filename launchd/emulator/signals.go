package emulator

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// darwinSignals are the signals of macOS in order of their numbers there,
// from 1, with what its strsignal(3) says. launchctl takes and prints those
// numbers; SIGUSR1, for one, has another number on Linux.
var darwinSignals = []struct{ name, text string }{
	{"SIGHUP", "Hangup"},
	{"SIGINT", "Interrupt"},
	{"SIGQUIT", "Quit"},
	{"SIGILL", "Illegal instruction"},
	{"SIGTRAP", "Trace/BPT trap"},
	{"SIGABRT", "Abort trap"},
	{"SIGEMT", "EMT trap"},
	{"SIGFPE", "Floating point exception"},
	{"SIGKILL", "Killed"},
	{"SIGBUS", "Bus error"},
	{"SIGSEGV", "Segmentation fault"},
	{"SIGSYS", "Bad system call"},
	{"SIGPIPE", "Broken pipe"},
	{"SIGALRM", "Alarm clock"},
	{"SIGTERM", "Terminated"},
	{"SIGURG", "Urgent I/O condition"},
	{"SIGSTOP", "Suspended (signal)"},
	{"SIGTSTP", "Suspended"},
	{"SIGCONT", "Continued"},
	{"SIGCHLD", "Child exited"},
	{"SIGTTIN", "Stopped (tty input)"},
	{"SIGTTOU", "Stopped (tty output)"},
	{"SIGIO", "I/O possible"},
	{"SIGXCPU", "Cputime limit exceeded"},
	{"SIGXFSZ", "Filesize limit exceeded"},
	{"SIGVTALRM", "Virtual timer expired"},
	{"SIGPROF", "Profiling timer expired"},
	{"SIGWINCH", "Window size changes"},
	{"SIGINFO", "Information request"},
	{"SIGUSR1", "User defined signal 1"},
	{"SIGUSR2", "User defined signal 2"},
}

// parseSignal reads TERM, SIGTERM, -TERM or 15 and returns this system's
// signal, which is 0 if it has none of that name.
func parseSignal(s string) (unix.Signal, bool) {
	s = strings.TrimPrefix(s, "-")
	if n, err := strconv.Atoi(s); err == nil {
		if n < 1 || n > len(darwinSignals) {
			return 0, false
		}
		return unix.SignalNum(darwinSignals[n-1].name), true
	}
	name := "SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")
	for _, known := range darwinSignals {
		if known.name == name {
			return unix.SignalNum(name), true
		}
	}
	return 0, false
}

// darwinSignal is macOS' number of this system's signal n, or n itself.
func darwinSignal(n int) int {
	name := unix.SignalName(unix.Signal(n))
	for i, known := range darwinSignals {
		if known.name == name {
			return i + 1
		}
	}
	return n
}

func signalText(n int) string {
	d := darwinSignal(n)
	if d < 1 || d > len(darwinSignals) {
		return fmt.Sprintf("Unknown signal: %d", d)
	}
	return fmt.Sprintf("%s: %d", darwinSignals[d-1].text, d)
}
