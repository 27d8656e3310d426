package launchd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The classes of errors that a caller branches on, with errors.Is.
var (
	// ErrNotLoaded means that the domain knows no such service.
	ErrNotLoaded = errors.New("service is not loaded")
	// ErrNotRunning means that the service is loaded and has no process.
	ErrNotRunning = errors.New("service is not running")
	// ErrAlreadyLoaded means that the label is taken in the domain.
	ErrAlreadyLoaded = errors.New("service is already loaded")
	// ErrDisabled means that someone disabled the label. That outlives the
	// plist; Client.Enable undoes it.
	ErrDisabled = errors.New("service is disabled")
	// ErrNoDomain means that the domain does not exist: for GUI, that the
	// user has no graphical session, as over SSH. It does not mean that the
	// service is not installed.
	ErrNoDomain = errors.New("no such domain, or no graphical session")
	// ErrPermission means that the caller lacks the rights.
	ErrPermission = errors.New("not permitted")
	// ErrPolicy means that the system's policy forbids it and a person has
	// to act: System Integrity Protection, the sandbox, quarantine, or Login
	// Items in System Settings.
	ErrPolicy = errors.New("blocked by system policy")
	// ErrBadPlist means that launchd will never take this plist as it is.
	ErrBadPlist = errors.New("plist cannot be loaded")
	// ErrInFlux means that launchd is at work on the service: try again.
	ErrInFlux = errors.New("service is in transition")
)

// exitUsage is the status of launchctl for a malformed command line, EX_USAGE
// of sysexits.h. As an errno it would read "Host is down".
const exitUsage = 64

// Error is a launchctl that exited with a status other than 0. On macOS 12
// and newer, code 5 says nothing but that it failed; [Client.Load] finds out
// why.
type Error struct {
	Verb   string // bootstrap, bootout, …
	Target string // the service, domain, path or key that it was about
	Code   int    // the exit status: Darwin's errno or libxpc's code
	Stderr string // all that launchctl said
}

// Name is the symbol of the code, such as EIO, or "".
func (e *Error) Name() string {
	if e.Code == exitUsage {
		return "EX_USAGE"
	}
	return CodeName(e.Code)
}

// Text is the meaning of the code.
func (e *Error) Text() string {
	if e.Code == exitUsage {
		return "Command line usage error"
	}
	return CodeText(e.Code)
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%s: exit %d: %s", command(e.Verb, e.Target), e.Code, e.Text())
	for line := range strings.Lines(e.Stderr) {
		line = strings.TrimSpace(line)
		// These repeat the code or say nothing.
		if line == "" || line == "Bad request." || strings.HasSuffix(line, e.Text()) || strings.HasPrefix(line, "Try re-running") {
			continue
		}
		return text + " (" + line + ")"
	}
	return text
}

// manyErrors is libxpc's code where launchctl tells the errors line by line.
const manyErrors = 133

// cause is the code that counts: that of the first line "<path>: <text>" on
// stderr if launchctl says that there were several, else Code.
func (e *Error) cause() int {
	if e.Code != manyErrors {
		return e.Code
	}
	for line := range strings.Lines(e.Stderr) {
		line = strings.TrimSpace(line)
		if strings.HasSuffix(line, ": service already bootstrapped") {
			return codeAlready
		}
		for code, c := range codes {
			if code != manyErrors && strings.HasSuffix(line, ": "+c.text) {
				return code
			}
		}
	}
	return e.Code
}

// Is reports whether the code belongs to the class target.
func (e *Error) Is(target error) bool {
	code := e.cause()
	var codes []int
	switch target {
	case ErrNotLoaded:
		codes = []int{113}
		if e.Verb == "bootout" {
			codes = append(codes, 3)
		}
	case ErrNotRunning:
		return code == 3 && e.Verb != "bootout"
	case ErrAlreadyLoaded:
		codes = []int{17, 37}
	case ErrDisabled:
		codes = []int{119}
	case ErrNoDomain:
		codes = []int{112, 124, 125}
	case ErrPermission:
		codes = []int{1, 13, 144}
	case ErrPolicy:
		codes = []int{150, 155, 159, 161}
	case ErrBadPlist:
		codes = []int{107, 108, 109, 110, 111, 122, 134, 138, 140}
	case ErrInFlux:
		codes = []int{36, 37}
	}
	return slices.Contains(codes, code)
}
