package launchd

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrBadTarget means that a target or a label is malformed. No launchctl was
// run.
var ErrBadTarget = errors.New("bad target")

// A DomainTarget names a domain of launchd. It is a type of its own, so that
// nobody boots out a whole domain where a service was meant. The zero value
// names none.
type DomainTarget struct {
	kind string
	id   int
}

// System is the domain of the daemons; it needs root.
func System() DomainTarget { return DomainTarget{kind: "system"} }

// GUI is the domain of the agents of a logged-in user. It exists only while
// that user has a graphical session.
func GUI(uid int) DomainTarget { return DomainTarget{"gui", uid} }

// User is the domain of a user's agents that need no session. Its services
// are not those of GUI.
func User(uid int) DomainTarget { return DomainTarget{"user", uid} }

// Login is the domain of one audit session; GUI is an alias of it.
func Login(asid int) DomainTarget { return DomainTarget{"login", asid} }

// PID is the domain of one process.
func PID(pid int) DomainTarget { return DomainTarget{"pid", pid} }

// ParseDomain reads what String writes, such as "gui/501".
func ParseDomain(s string) (DomainTarget, error) {
	kind, rest, _ := strings.Cut(s, "/")
	d := DomainTarget{kind: kind}
	if kind != "system" {
		// ParseUint and the comparison refuse "+1", "01" and "".
		n, err := strconv.ParseUint(rest, 10, 32)
		if err != nil || strconv.FormatUint(n, 10) != rest {
			return DomainTarget{}, fmt.Errorf("%w: %q is no domain such as gui/501", ErrBadTarget, s)
		}
		d.id = int(n)
	}
	if err := d.check(); err != nil || d.String() != s {
		return DomainTarget{}, fmt.Errorf("%w: %q is no domain such as gui/501", ErrBadTarget, s)
	}
	return d, nil
}

func (d DomainTarget) check() error {
	switch d.kind {
	case "system":
		return nil
	case "gui", "user", "login", "pid":
		if d.id >= 0 {
			return nil
		}
	}
	return fmt.Errorf("%w: %q is no domain", ErrBadTarget, d.String())
}

// String is the domain as launchctl takes it: "system", "gui/501".
func (d DomainTarget) String() string {
	if d.kind == "system" || d.kind == "" {
		return d.kind
	}
	return d.kind + "/" + strconv.Itoa(d.id)
}

// Service names a service in the domain.
func (d DomainTarget) Service(label string) (ServiceTarget, error) {
	if err := d.check(); err != nil {
		return ServiceTarget{}, err
	}
	if err := CheckLabel(label); err != nil {
		return ServiceTarget{}, err
	}
	return ServiceTarget{d, label}, nil
}

// A ServiceTarget names a service in its domain. The zero value names none.
type ServiceTarget struct {
	domain DomainTarget
	label  string
}

// ParseTarget reads what String writes, such as "gui/501/com.example.agent".
func ParseTarget(s string) (ServiceTarget, error) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return ServiceTarget{}, fmt.Errorf("%w: %q is no service such as gui/501/com.example.agent", ErrBadTarget, s)
	}
	d, err := ParseDomain(s[:i])
	if err != nil {
		return ServiceTarget{}, err
	}
	return d.Service(s[i+1:])
}

// Domain is the domain that the service is in.
func (s ServiceTarget) Domain() DomainTarget { return s.domain }

// Label is the name of the service in its domain.
func (s ServiceTarget) Label() string { return s.label }

// String is the service as launchctl takes it: "gui/501/com.example.agent".
func (s ServiceTarget) String() string { return s.domain.String() + "/" + s.label }

func (s ServiceTarget) check() error {
	if err := s.domain.check(); err != nil {
		return err
	}
	return CheckLabel(s.label)
}

// maxLabel leaves room for ".plist" in a file name of 255 bytes.
const maxLabel = 249

// CheckLabel reports whether label is one that this package works with: 1 to
// 249 letters, digits, dots, underscores and hyphens, the first no hyphen.
// launchd itself takes nearly anything, but cannot store "<" in its list of
// disabled services, and a slash or a space makes targets ambiguous.
func CheckLabel(label string) error {
	if label == "" || len(label) > maxLabel {
		return fmt.Errorf("%w: label %q must have 1 to %d characters", ErrBadTarget, label, maxLabel)
	}
	for i, c := range []byte(label) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-' && i > 0:
		default:
			return fmt.Errorf("%w: label %q may only have A-Z, a-z, 0-9, dot, underscore and hyphen, and must not start with a hyphen", ErrBadTarget, label)
		}
	}
	return nil
}
