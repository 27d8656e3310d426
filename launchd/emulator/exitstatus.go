package emulator

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// exitStatus is how a process ended. The zero value is one that never did.
type exitStatus struct {
	Kind exitKind
	N    int // exit code, or signal in this system's numbers
}

type exitKind int

const (
	neverExited exitKind = iota
	withCode
	bySignal
	// lost is the end of an adopted process: only a parent learns the status.
	lost
)

func statusOf(ws syscall.WaitStatus) exitStatus {
	if ws.Signaled() {
		return exitStatus{bySignal, int(ws.Signal())}
	}
	return exitStatus{withCode, ws.ExitStatus()}
}

func (s exitStatus) success() bool { return s == exitStatus{Kind: withCode} }

// crash reports whether the process died of its own mistake. SIGTERM and
// SIGKILL come from outside.
func (s exitStatus) crash() bool {
	if s.Kind != bySignal {
		return false
	}
	switch unix.Signal(s.N) {
	case unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGFPE, unix.SIGBUS, unix.SIGSEGV, unix.SIGSYS, unix.SIGQUIT:
		return true
	}
	return false
}

// line is the status as launchctl print of a service shows it.
func (s exitStatus) line() string {
	switch s.Kind {
	case withCode:
		if name := sysexits[s.N]; name != "" {
			return fmt.Sprintf("last exit code = %d: %s", s.N, name)
		}
		return fmt.Sprintf("last exit code = %d", s.N)
	case bySignal:
		return "last terminating signal = " + signalText(s.N)
	case lost:
		return "last exit code = (failed reap)"
	}
	return "last exit code = (never exited)"
}

// column is the status as print of a domain and list show it.
func (s exitStatus) column() string {
	switch s.Kind {
	case withCode:
		return fmt.Sprint(s.N)
	case bySignal:
		return fmt.Sprint(-darwinSignal(s.N))
	case lost:
		return "(fr)"
	}
	return "-"
}

// wait is the status as wait(2) would give it on macOS; list <label> shows it
// undecoded.
func (s exitStatus) wait() int {
	switch s.Kind {
	case withCode:
		return s.N << 8
	case bySignal:
		return darwinSignal(s.N)
	}
	return 0
}

// sysexits are the names of <sysexits.h>.
var sysexits = map[int]string{
	64: "EX_USAGE", 65: "EX_DATAERR", 66: "EX_NOINPUT", 67: "EX_NOUSER",
	68: "EX_NOHOST", 69: "EX_UNAVAILABLE", 70: "EX_SOFTWARE", 71: "EX_OSERR",
	72: "EX_OSFILE", 73: "EX_CANTCREAT", 74: "EX_IOERR", 75: "EX_TEMPFAIL",
	76: "EX_PROTOCOL", 77: "EX_NOPERM", 78: "EX_CONFIG",
}

const exConfig = 78
