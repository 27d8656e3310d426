package launchd

import (
	"context"
	"fmt"
	"strings"
)

// DomainInfo is a domain as launchctl print shows it. As of [Service], every
// field may be empty.
type DomainInfo struct {
	Target  string // gui/501
	Type    string // login, user, system, …
	Session string // Aqua, Background, …
	Creator string // "loginwindow[123]"
	// Services are those that are loaded, also without a process.
	Services []ListEntry
	// Disabled is what PrintDisabled tells, if the domain has that block.
	Disabled map[string]bool
	// Fields has each "key = value" of the top level, Blocks the raw lines of
	// each "key = { … }".
	Fields map[string]string
	Blocks map[string]string
}

// ParseDomainInfo reads the output of launchctl print for a domain.
func ParseDomainInfo(data []byte) (*DomainInfo, error) {
	p, err := parsePrint(data)
	if err != nil {
		return nil, fmt.Errorf("parse domain: %w", err)
	}
	d := &DomainInfo{
		Target: p.target, Type: p.fields["type"], Session: p.fields["session"], Creator: p.fields["creator"],
		Fields: p.fields, Blocks: p.blocks,
	}
	for line := range strings.Lines(p.blocks["services"]) {
		// "%8s %6s \t%s": pid, status and label.
		numbers, label, ok := strings.Cut(strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "\t\t"), "\t")
		words := strings.Fields(numbers)
		if ok && label != "" && len(words) == 2 {
			d.Services = append(d.Services, listEntry(words[0], words[1], label))
		}
	}
	if block, ok := p.blocks["disabled services"]; ok {
		if d.Disabled, err = ParseDisabled([]byte("disabled services = {\n" + block + "}\n")); err != nil {
			return nil, fmt.Errorf("parse domain: %w", err)
		}
	}
	return d, nil
}

// PrintDomain tells what is loaded in a domain, or [ErrNoDomain].
func (c *Client) PrintDomain(ctx context.Context, d DomainTarget) (*DomainInfo, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	out, err := c.call(ctx, "print", d.String(), d.String())
	if err != nil {
		return nil, err
	}
	info, err := ParseDomainInfo(out)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	return info, nil
}

// Blame is why the service's present process was started: "speculative" for
// RunAtLoad and KeepAlive, "non-ipc demand" for a kickstart or a timer, … It
// is [ErrNotRunning] if there is no process.
func (c *Client) Blame(ctx context.Context, s ServiceTarget) (string, error) {
	if err := s.check(); err != nil {
		return "", err
	}
	out, err := c.call(ctx, "blame", s.String(), s.String())
	return strings.TrimSpace(string(out)), err
}

// ManagerName is the session of the caller's domain: Aqua where somebody is
// logged in, Background over SSH, or LoginWindow, StandardIO, System.
func (c *Client) ManagerName(ctx context.Context) (string, error) {
	out, err := c.call(ctx, "managername", "")
	return strings.TrimSpace(string(out)), err
}

// Version is what launchctl says of launchd's version.
func (c *Client) Version(ctx context.Context) (string, error) {
	out, err := c.call(ctx, "version", "")
	return strings.TrimSpace(string(out)), err
}
