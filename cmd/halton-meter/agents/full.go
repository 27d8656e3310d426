package agents

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/mactools"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/upstream"
	"github.com/haltonlabs/halton-meter/internal/atomicfile"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
	"github.com/haltonlabs/halton-meter/meter/ca"
)

// Errors of mode full that a command has another hint for.
var (
	// ErrNoSystemProxy means that this system has none that can be set.
	ErrNoSystemProxy = errors.New("mode full sets the macOS system proxy, which this system does not have")
	// ErrAutomaticProxy means that a PAC file or WPAD chooses the proxy.
	ErrAutomaticProxy = errors.New("a PAC file or proxy discovery chooses this machine's proxy")
	// ErrIdleProxy means that a service that is not in use has a proxy of its
	// own: the edge goes one way, and here or there it would be the wrong one.
	ErrIdleProxy = errors.New("a network service has a proxy that is not in use now")
	// ErrProxyPassword means that the system proxy has a password, which
	// macOS does not tell.
	ErrProxyPassword = errors.New("the system proxy has a password, which only macOS knows")
)

// SystemEdge is where the system proxy points in mode full. Without the edge's
// plist the note of that mode tells, and without the note it is where most
// edges are: a proxy that nobody answers must be found, whatever was deleted.
func SystemEdge(p Paths) mactools.Edge {
	port := EdgePort(p)
	if port == 0 {
		note, _ := smallfile.Read(p.ProxyManaged(), smallfile.Max)
		_, text, _ := strings.Cut(strings.TrimSpace(string(note)), ":")
		if n, err := strconv.ParseUint(text, 10, 16); err == nil {
			port = int(n)
		}
	}
	if port == 0 {
		port = EdgeChoice(0).Preferred
	}
	return mactools.Edge{Host: edgeHost, Port: port}
}

// TakeSystemProxy makes the edge the system proxy, after it has noted what was
// there. A proxy that the user had becomes the upstream; changed tells so.
func TakeSystemProxy(ctx context.Context, p Paths, t mactools.Tools, now time.Time) (adopted upstream.Adopted, changed bool, err error) {
	if !t.Available() {
		return adopted, false, ErrNoSystemProxy
	}
	snapshot, err := readSnapshot(p)
	if errors.Is(err, fs.ErrNotExist) {
		snapshot, err = takeSnapshot(ctx, p, t, now)
		if err != nil {
			return adopted, false, err
		}
		data, jsonErr := json.MarshalIndent(snapshot, "", "  ")
		if jsonErr != nil {
			return adopted, false, jsonErr
		}
		err = atomicfile.Write(p.SystemState(), append(data, '\n'), 0o600)
	}
	if err != nil {
		return adopted, false, err
	}
	if e, found := snapshot.Upstream(); found {
		adopted = upstream.Adopted{
			Proxy: fmt.Sprintf("http://%s:%d", e.Server, e.Port), NoProxy: snapshot.NoProxy(),
			From: "the system proxy", At: now.UTC(),
		}
		have, _ := upstream.Read(p.Upstream())
		if changed = have.Proxy == ""; changed {
			if err := AdoptUpstream(p, adopted); err != nil {
				return adopted, false, err
			}
		}
	}
	// First the sentinel: a watchdog that finds the daemon dead must know that
	// the proxy is ours to take away.
	if err := atomicfile.Write(p.ProxyManaged(), []byte(EdgeAddress(EdgePort(p))+"\n"), 0o600); err != nil {
		return adopted, changed, err
	}
	return adopted, changed, t.PointAt(ctx, SystemEdge(p))
}

// takeSnapshot reads the settings and refuses what could not be gone through,
// or not be put back.
func takeSnapshot(ctx context.Context, p Paths, t mactools.Tools, now time.Time) (mactools.Snapshot, error) {
	s, err := t.Snapshot(ctx, SystemEdge(p), now)
	if err != nil {
		return s, err
	}
	if service, found := s.Automatic(); found {
		return s, fmt.Errorf("%w (%s)", ErrAutomaticProxy, service)
	}
	if e, found := s.Upstream(); found && e.Authenticated {
		return s, fmt.Errorf("%w (%s:%d)", ErrProxyPassword, e.Server, e.Port)
	}
	effective, err := t.Effective(ctx)
	if err != nil {
		return s, err
	}
	edge := SystemEdge(p)
	used := effective.HTTPS
	if used == net.JoinHostPort(edge.Host, strconv.Itoa(edge.Port)) {
		used = "" // of an installation whose snapshot is lost
	}
	// A VPN or a profile may decide past all services.
	if effective.PAC != "" || effective.WPAD {
		return s, fmt.Errorf("%w (%s)", ErrAutomaticProxy, cmp.Or(effective.PAC, "discovery"))
	}
	if idle, found := s.Idle(used); found {
		return s, fmt.Errorf("%w (%s: %s:%d, in use: %s)", ErrIdleProxy, idle.Service, idle.Secure.Server, idle.Secure.Port, cmp.Or(used, "none"))
	}
	return s, nil
}

// CheckSystemProxy is nil if the system proxy can be taken, or is taken.
func CheckSystemProxy(ctx context.Context, p Paths, t mactools.Tools) error {
	_, err := readSnapshot(p)
	if errors.Is(err, fs.ErrNotExist) {
		_, err = takeSnapshot(ctx, p, t, time.Time{})
	}
	return err
}

// ReturnSystemProxy puts the system proxy back as it was. Without a note of
// that, it is turned off wherever it points at the edge.
func ReturnSystemProxy(ctx context.Context, p Paths, t mactools.Tools) error {
	if !t.Available() {
		return nil
	}
	snapshot, err := readSnapshot(p)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !p.mayHoldSystemProxy():
		return nil // never taken
	case err != nil:
		err = t.Release(ctx, SystemEdge(p))
	default:
		err = t.Restore(ctx, snapshot, SystemEdge(p))
	}
	if err != nil {
		return err
	}
	for _, path := range []string{p.ProxyManaged(), p.SystemState()} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// ReleaseSystemProxy turns the proxy off while metering is down, if it is
// ours. It stays ours: ResumeSystemProxy turns it on again.
func ReleaseSystemProxy(ctx context.Context, p Paths, t mactools.Tools) error {
	if !t.Available() || !p.mayHoldSystemProxy() {
		return nil
	}
	return t.Release(ctx, SystemEdge(p))
}

// mayHoldSystemProxy reports whether the system proxy is ours, or may be: who
// deletes the state directory deletes the note of that, and the program that
// launchd would start the edge from. Then nobody would turn the proxy off.
func (p Paths) mayHoldSystemProxy() bool {
	if _, err := os.Stat(p.ProxyManaged()); !errors.Is(err, fs.ErrNotExist) {
		return true
	}
	_, err := os.Stat(p.State)
	return errors.Is(err, fs.ErrNotExist)
}

// ResumeSystemProxy turns a proxy that is ours on again.
func ResumeSystemProxy(ctx context.Context, p Paths, t mactools.Tools) error {
	if _, err := os.Stat(p.ProxyManaged()); err != nil {
		return nil
	}
	return t.PointAt(ctx, SystemEdge(p))
}

func readSnapshot(p Paths) (mactools.Snapshot, error) {
	var s mactools.Snapshot
	data, err := smallfile.Read(p.SystemState(), smallfile.Max)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("read %s: %w", p.SystemState(), err)
	}
	return s, nil
}

// TrustRoots has the user's login keychain trust the roots of the local
// authority. It tells whether it had to: macOS asks for the password then.
func TrustRoots(ctx context.Context, p Paths, t mactools.Tools) (asked bool, err error) {
	chain := mactools.LoginKeychain(p.Home)
	for _, root := range ca.RootFiles(p.CA()) {
		trusted, err := t.Trusted(ctx, root, chain)
		if err != nil {
			return asked, err
		}
		if trusted {
			continue
		}
		asked = true
		if err := t.Trust(ctx, root, chain); err != nil {
			return asked, err
		}
	}
	return asked, nil
}

// RootsTrusted reports whether the login keychain trusts all our roots. None
// may be there yet.
func RootsTrusted(ctx context.Context, p Paths, t mactools.Tools) (bool, error) {
	roots := ca.RootFiles(p.CA())
	for _, root := range roots {
		trusted, err := t.Trusted(ctx, root, mactools.LoginKeychain(p.Home))
		if err != nil || !trusted {
			return false, err
		}
	}
	return len(roots) > 0, nil
}

// UntrustRoots takes that trust back, from as many as it can.
func UntrustRoots(ctx context.Context, p Paths, t mactools.Tools) error {
	if !t.Available() {
		return nil
	}
	var errs []error
	for _, root := range ca.RootFiles(p.CA()) {
		if err := t.Untrust(ctx, root, mactools.LoginKeychain(p.Home)); !errors.Is(err, mactools.ErrNoCertificate) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
