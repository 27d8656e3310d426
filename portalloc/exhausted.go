package portalloc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Attempt is a candidate that could not be had.
type Attempt struct {
	Port int
	// Err is why: EADDRINUSE, EACCES, or that the port is kept for another
	// name.
	Err error
	// Holder is who listens on it, as far as the operating system tells.
	Holder Holder
	// Own reports that the process which the state file names, and which
	// still runs, holds it: our own older process, not a stranger.
	Own bool
}

// Holder is a process that listens on a port. What is not known is zero.
type Holder struct {
	PID int
	// Command is the program's name as the kernel has it, cut to 15 bytes
	// on Linux.
	Command string
	// User is the user's numeric id, "" if not known.
	User string
}

// ExhaustedError says that every candidate of a port is taken.
type ExhaustedError struct {
	// Name is the port's name.
	Name string
	// Pinned says that there was one candidate, by the user's choice.
	Pinned bool
	// Attempts are the candidates, in the order in which they were tried.
	Attempts []Attempt
}

// Error names each candidate with its holder, and says what to do.
func (e *ExhaustedError) Error() string {
	var b strings.Builder
	if e.Pinned {
		fmt.Fprintf(&b, "allocate port %q: the pinned port is taken: ", e.Name)
	} else {
		fmt.Fprintf(&b, "allocate port %q: every candidate is taken: ", e.Name)
	}
	own := 0
	for i, a := range e.Attempts {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%d (%s)", a.Port, a.describe())
		if a.Own {
			own = a.Holder.PID
		}
	}
	switch {
	case own != 0:
		fmt.Fprintf(&b, "; stop process %d, which is an older one of ours, free another of them, or pin another port in the configuration", own)
	case e.Pinned:
		b.WriteString("; free it, or pin another port in the configuration")
	default:
		b.WriteString("; free one of them, or pin another port in the configuration")
	}
	return b.String()
}

// Unwrap returns the attempts' errors, for errors.Is.
func (e *ExhaustedError) Unwrap() []error {
	var errs []error
	for _, a := range e.Attempts {
		errs = append(errs, a.Err)
	}
	return errs
}

func (a Attempt) describe() string {
	switch {
	case a.Own:
		return fmt.Sprintf("our own older process, pid %d", a.Holder.PID)
	case a.Holder.PID != 0:
		return fmt.Sprintf("%s, pid %d", cmp.Or(a.Holder.Command, "unnamed"), a.Holder.PID)
	case a.Holder.User != "":
		return "a process of user id " + a.Holder.User
	case errors.Is(a.Err, unix.EADDRINUSE):
		return "in use"
	case errors.Is(a.Err, unix.EACCES), errors.Is(a.Err, unix.EPERM):
		return "not permitted"
	default:
		return a.Err.Error()
	}
}

// FindHolder tells who listens on a TCP port of this machine, on loopback or
// on all addresses. It is the zero Holder if nobody does, or if the operating
// system does not tell.
func FindHolder(ctx context.Context, port int) Holder {
	return findHolders(ctx, []int{port}, 0)[port]
}

func addHolders(ctx context.Context, tried []Attempt, last Record) {
	var ports []int
	for _, a := range tried {
		ports = append(ports, a.Port)
	}
	holders := findHolders(ctx, ports, last.PID)
	live := last.Live()
	for i := range tried {
		a := &tried[i]
		a.Holder = holders[a.Port]
		a.Own = live && a.Holder.PID == last.PID
	}
}
