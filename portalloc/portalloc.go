// Package portalloc gives a program named loopback ports: the one it prefers,
// the one it had the last time, or a fallback, as open listeners.
//
// A port number that was free a moment ago is a promise nobody keeps, so
// [Negotiation.Negotiate] returns listeners:
//
//	alloc, err := portalloc.Negotiation{
//		StateFile: "/path/ports.json",
//		LockFile:  "/path/ports.lock",
//		Ports: []portalloc.Port{
//			{Name: "api", Preferred: 8765, Fallbacks: []int{8865, 8866}},
//		},
//	}.Negotiate(ctx)
//	if err != nil {
//		return err
//	}
//	defer alloc.Close()
//	return http.Serve(alloc.Listener("api"), handler)
//
// # The state file
//
// The [Record] in the state file tells other programs which ports were chosen
// and who holds them, and tells the next Negotiate what to try first: users
// have pasted the last choice into their own settings. A reader asks
// [Record.Live] before it believes it, since nothing removes the record when
// its owner is killed. Files that are not exactly a record are never trusted.
//
// # Ownership
//
// The listeners belong to the caller, who closes them one by one or with
// [Allocation.Close]. The lock is held during Negotiate only; what keeps two
// programs off one port afterwards is the kernel. The record stays.
//
// # What a listener guarantees
//
// Whoever connects to Host and the port reaches this program and nobody else:
// the socket never shares its address (no SO_REUSEPORT). On Linux a port that
// another program holds on all addresses counts as taken. macOS would let a
// socket on 127.0.0.1 take the loopback traffic of a program that listens on
// all addresses, because Go sets SO_REUSEADDR; there Negotiate looks for such
// a program first and counts the port as taken. It cannot prevent that one
// comes later: that one's loopback traffic then still arrives here.
//
// The package builds on macOS and Linux, each of which is asked in its own way
// who holds a port.
//
// # What it does not do
//
// It does not watch the ports, does not retry an exhausted list, and chooses
// nothing by itself: every candidate is named by the caller, and so are the
// files.
package portalloc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/haltonlabs/halton-meter/internal/filelock"
)

// Port is a port to negotiate.
type Port struct {
	// Name is the port's name: lower-case letters, digits and underscores,
	// a letter first. The record calls it "<name>_port".
	Name string
	// Preferred is the port to have. Zero lets the kernel choose a free one
	// each time, and Fallbacks are not used.
	Preferred int
	// Fallbacks are tried in order when Preferred is taken.
	Fallbacks []int
	// Pinned means Preferred or nothing: the user has decided.
	Pinned bool
}

// Negotiation describes the ports that one program needs together: it gets
// all of them or none.
type Negotiation struct {
	// StateFile is where the Record is read from and written to; its
	// directory must exist. What is there and is no record is replaced.
	// Empty: no memory and no record.
	StateFile string
	// LockFile is locked from the read of StateFile to its replacement, so
	// that of two programs at once neither loses the other's ports. It must
	// not be a lock under which somebody waits for this program. It is made
	// if it is missing, and stays. Empty: no lock; two programs still never
	// get one port.
	LockFile string
	// Host is the loopback IP address to listen on. Empty: 127.0.0.1.
	Host string
	// Ports are the ports, the more important first: where the candidates
	// of two overlap, the earlier one chooses first. A port that one of them
	// pins is no candidate of the others.
	Ports []Port
	// Known are ports that other programs hold, by name. They are recorded
	// as they are, whatever the state file says of them; 0 records the name
	// and leaves the port to the state file.
	Known map[string]int
	// ForAnother means that the ports are chosen for another program, which
	// will open them again, as launchd does for a job's Sockets: the record
	// keeps the process it names. Close the Allocation just before that
	// program listens. A port that it holds by now counts as taken: while it
	// does, take its port from the record instead of negotiating again.
	ForAnother bool
	// Logger receives what was chosen and why. Nil: nothing is logged.
	Logger *slog.Logger
}

// Negotiate opens a listener for each port and records the choice.
//
// For each port it tries the last choice in the state file if that is a
// candidate, then Preferred, then Fallbacks. Ports that the state file or
// Known gives to names that are not negotiated here are left to their owners,
// unless pinned. If all candidates of a port are taken, the error is an
// [*ExhaustedError]. ctx bounds the wait for the lock.
func (n Negotiation) Negotiate(ctx context.Context) (*Allocation, error) {
	if n.Host == "" {
		n.Host = "127.0.0.1"
	}
	if n.Logger == nil {
		n.Logger = slog.New(slog.DiscardHandler)
	}
	if err := n.validate(); err != nil {
		return nil, err
	}
	alloc, last, err := n.negotiate(ctx)
	if exhausted, ok := errors.AsType[*ExhaustedError](err); ok {
		addHolders(ctx, exhausted.Attempts, last) // slow, so without the lock
	}
	return alloc, err
}

// negotiate also returns the record that it found.
func (n Negotiation) negotiate(ctx context.Context) (_ *Allocation, last Record, err error) {
	if n.LockFile != "" {
		lock, err := filelock.Wait(ctx, n.LockFile)
		if err != nil {
			return nil, last, fmt.Errorf("negotiate ports: %w", err)
		}
		defer lock.Unlock()
	}
	last = n.lastRecord()
	alloc := &Allocation{listeners: map[string]net.Listener{}}
	defer func() {
		if err != nil {
			alloc.Close()
		}
	}()
	for _, p := range n.order() {
		ln, err := n.open(ctx, p, last)
		if err != nil {
			return nil, last, err
		}
		alloc.listeners[p.Name] = ln
		n.Logger.Info("portalloc.port.chosen", "name", p.Name,
			"port", portOf(ln), "preferred", p.Preferred)
	}
	if n.StateFile != "" {
		if err := n.nextRecord(last, alloc).Write(n.StateFile); err != nil {
			return nil, last, err
		}
	}
	return alloc, last, nil
}

// open listens on the first candidate of p that is free.
func (n Negotiation) open(ctx context.Context, p Port, last Record) (net.Listener, error) {
	var tried []Attempt
	for _, port := range p.candidates(last.Ports[p.Name]) {
		owner := n.keptFor(port, p, last)
		if owner != "" {
			tried = append(tried, Attempt{Port: port, Err: fmt.Errorf("kept for %q", owner)})
			continue
		}
		ln, err := listen(ctx, n.Host, port)
		if err == nil {
			return ln, nil
		}
		if !taken(err) {
			return nil, fmt.Errorf("listen for %q: %w", p.Name, err)
		}
		n.Logger.Warn("portalloc.port.taken", "name", p.Name, "port", port, "error", err)
		tried = append(tried, Attempt{Port: port, Err: err})
	}
	return nil, &ExhaustedError{Name: p.Name, Pinned: p.Pinned, Attempts: tried}
}

// candidates are the ports to try, in order, each once.
func (p Port) candidates(last int) []int {
	if p.Pinned || p.Preferred == 0 {
		return []int{p.Preferred}
	}
	all := append([]int{p.Preferred}, p.Fallbacks...)
	if last != 0 && slices.Contains(all, last) {
		all = append([]int{last}, all...)
	}
	var once []int
	for _, port := range all {
		if !slices.Contains(once, port) {
			once = append(once, port)
		}
	}
	return once
}

// order puts what has the fewest choices first: pinned ports, then lists,
// then those for which the kernel chooses, which else might take a candidate.
func (n Negotiation) order() []Port {
	rank := func(p Port) int {
		switch {
		case p.Pinned:
			return 0
		case p.Preferred != 0:
			return 1
		default:
			return 2
		}
	}
	ports := slices.Clone(n.Ports)
	slices.SortStableFunc(ports, func(a, b Port) int { return rank(a) - rank(b) })
	return ports
}

// keptFor is the name that has a better right to port than p, or "".
func (n Negotiation) keptFor(port int, p Port, last Record) string {
	if p.Pinned || port == 0 {
		return ""
	}
	for _, other := range n.Ports {
		if other.Pinned && other.Preferred == port {
			return other.Name
		}
	}
	for name, held := range n.others(last) {
		if held == port {
			return name
		}
	}
	return ""
}

// others are the recorded and known ports of the names that are not
// negotiated here.
func (n Negotiation) others(last Record) map[string]int {
	ports := map[string]int{}
	maps.Copy(ports, last.Ports)
	for name, port := range n.Known {
		if port == 0 && ports[name] != 0 {
			continue
		}
		forget(ports, port)
		ports[name] = port
	}
	for _, p := range n.Ports {
		delete(ports, p.Name)
	}
	return ports
}

// validName reports whether a name is one that Port allows.
func validName(name string) bool {
	letter := func(r rune) bool { return r >= 'a' && r <= 'z' }
	return name != "" && len(name) <= 64 && letter(rune(name[0])) && !strings.ContainsFunc(name, func(r rune) bool {
		return !letter(r) && (r < '0' || r > '9') && r != '_'
	})
}

func (n Negotiation) validate() error {
	if ip, err := netip.ParseAddr(n.Host); err != nil || !ip.IsLoopback() || ip.Zone() != "" {
		return fmt.Errorf("negotiate ports: host %q is not a loopback address", n.Host)
	}
	names := map[string]bool{}
	pins := map[int]string{}
	for _, p := range n.Ports {
		if !validName(p.Name) {
			return fmt.Errorf("negotiate ports: invalid name %q", p.Name)
		}
		if names[p.Name] {
			return fmt.Errorf("negotiate ports: %q is named twice", p.Name)
		}
		names[p.Name] = true
		for i, port := range append([]int{p.Preferred}, p.Fallbacks...) {
			if port < 0 || port > 65535 || port == 0 && (i > 0 || p.Pinned) {
				return fmt.Errorf("negotiate ports: %q: %d is not a port", p.Name, port)
			}
		}
		if !p.Pinned {
			continue
		}
		if other, ok := pins[p.Preferred]; ok {
			return fmt.Errorf("negotiate ports: %q and %q are both pinned to %d: change one of them in the configuration", other, p.Name, p.Preferred)
		}
		pins[p.Preferred] = p.Name
	}
	return n.validateKnown(names, pins)
}

func (n Negotiation) validateKnown(names map[string]bool, pins map[int]string) error {
	held := map[int]string{}
	for name, port := range n.Known {
		if !validName(name) || port < 0 || port > 65535 {
			return fmt.Errorf("negotiate ports: invalid known port %q: %d", name, port)
		}
		if names[name] {
			return fmt.Errorf("negotiate ports: %q is both known and to be negotiated", name)
		}
		if port == 0 {
			continue
		}
		if other, ok := pins[port]; ok {
			return fmt.Errorf("negotiate ports: %q is pinned to %d, which %q holds: change it in the configuration", other, port, name)
		}
		if other, ok := held[port]; ok {
			return fmt.Errorf("negotiate ports: %q and %q are both known as %d", other, name, port)
		}
		held[port] = name
	}
	return nil
}

// Allocation is a set of open listeners.
type Allocation struct{ listeners map[string]net.Listener }

// Listener is the listener of the port name, nil if there is none.
func (a *Allocation) Listener(name string) net.Listener { return a.listeners[name] }

// Port is the number of the port name, 0 if there is none.
func (a *Allocation) Port(name string) int {
	ln, ok := a.listeners[name]
	if !ok {
		return 0
	}
	return portOf(ln)
}

// Close closes all listeners that are still open.
func (a *Allocation) Close() error {
	var errs []error
	for _, ln := range a.listeners {
		if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func portOf(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }

// lastRecord is what the state file says, or an empty record. A file that
// cannot be trusted is set aside under another name, for whoever looks for
// the reason.
func (n Negotiation) lastRecord() Record {
	if n.StateFile == "" {
		return Record{}
	}
	r, err := ReadRecord(n.StateFile)
	switch {
	case err == nil:
		return r
	case errors.Is(err, os.ErrNotExist):
	case errors.Is(err, ErrCorrupt):
		aside := n.StateFile + ".corrupt"
		renamed := os.Rename(n.StateFile, aside)
		n.Logger.Warn("portalloc.state.corrupt", "error", err, "kept_as", aside, "rename_error", renamed)
	default:
		n.Logger.Warn("portalloc.state.unreadable", "error", err)
	}
	return Record{}
}

// nextRecord is the whole new record: what was negotiated, what is known of
// others, and whose it is.
func (n Negotiation) nextRecord(last Record, a *Allocation) Record {
	next := Record{Ports: n.others(last), PID: last.PID, StartedAt: last.StartedAt, Process: last.Process}
	for name := range a.listeners {
		forget(next.Ports, a.Port(name))
		next.Ports[name] = a.Port(name)
	}
	if !n.ForAnother {
		next.own()
	}
	return next
}

// forget takes port away from the name that an older record gave it to.
func forget(ports map[string]int, port int) {
	for name, held := range ports {
		if held == port {
			ports[name] = 0
		}
	}
}
