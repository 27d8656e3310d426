package meter

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/haltonlabs/halton-meter/internal/filelock"
	"github.com/haltonlabs/halton-meter/internal/reserved"
	"github.com/haltonlabs/halton-meter/internal/secret"
	"github.com/haltonlabs/halton-meter/internal/version"
	"github.com/haltonlabs/halton-meter/meter/api"
	"github.com/haltonlabs/halton-meter/meter/attribution"
	"github.com/haltonlabs/halton-meter/meter/attribution/peer"
	"github.com/haltonlabs/halton-meter/meter/ca"
	"github.com/haltonlabs/halton-meter/meter/capture"
	"github.com/haltonlabs/halton-meter/meter/internal/booking"
	"github.com/haltonlabs/halton-meter/meter/ledger"
	"github.com/haltonlabs/halton-meter/meter/pricing"
	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/meter/tap"
	"github.com/haltonlabs/halton-meter/portalloc"
	"github.com/haltonlabs/halton-meter/proxyedge"
)

// DefaultDrainTimeout is how long open exchanges may take to end once the
// daemon is told to stop. With what storing needs it stays below the job's
// ExitTimeOut of 60 s, after which launchd kills.
const DefaultDrainTimeout = 50 * time.Second

// storeTimeout bounds the storing of the last rows.
const storeTimeout = 5 * time.Second

// The words that the edge counts as its reasons.
var (
	errDraining = errors.New("draining")
	errLearned  = errors.New("learned")
	errOlder    = errors.New("older")
)

// Config is what a daemon needs. Dir, Internal and API have no default.
type Config struct {
	// Dir is the state directory. "halton-meter init" makes what it must hold
	// before Run: the files edge-key and api-token, of mode 0600, each 32
	// random bytes in hexadecimal digits, and the folder ca, by [ca.Create]
	// for the hosts of Providers. The bytes in edge-key are the Key of the
	// edge. Run adds the ledger, and effective-ports.json, a
	// [portalloc.Record] by which an edge finds the daemon.
	Dir string
	// Internal is the port for the edge's tunnels, named "internal"; API is
	// the port of the HTTP API, named "api".
	Internal, API portalloc.Port
	// EdgePort is the edge's port, for the record that other programs read;
	// 0 leaves the one that is recorded.
	EdgePort int
	// DefaultProject takes what no rule attributes; "" means misc.
	DefaultProject string
	// KeepDays is how many days the ledger keeps a row; zero is for ever.
	KeepDays int
	// Providers is what is metered; nil is the built-in places.
	Providers *provider.Table
	// IncludeUsage is capture.Interceptor's: it asks OpenAI's streams for
	// their usage where the client does not.
	IncludeUsage bool
	// Prices says what usage costs; nil is pricing.Bundled.
	Prices *pricing.Book
	// Dial connects to providers, for instance through a parent proxy. Nil
	// is a net.Dialer. The environment's proxy variables never count.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// RootCAs verify the providers; nil is the system's roots.
	RootCAs *x509.CertPool
	// DrainTimeout is how long open exchanges may take to end when the
	// daemon stops; zero is DefaultDrainTimeout.
	DrainTimeout time.Duration
	// Logger takes the daemon's events; nil discards them.
	Logger *slog.Logger
}

// Run is the daemon's life: it returns nil after a drain that ctx began, and
// an error if it could not start or could not go on.
func Run(ctx context.Context, c Config) error {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Prices == nil {
		c.Prices = pricing.Bundled()
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = DefaultDrainTimeout
	}
	lock, err := filelock.Try(filepath.Join(c.Dir, "lock"))
	if errors.Is(err, filelock.ErrHeld) {
		return fmt.Errorf("start daemon: %s", otherDaemon(c.Dir))
	}
	if err != nil {
		return fmt.Errorf("start daemon: %w", err)
	}
	defer lock.Unlock()

	// What is begun here is short, and serve sees at once that ctx has ended.
	d, err := open(context.WithoutCancel(ctx), c)
	if err != nil {
		return fmt.Errorf("start daemon: %w", err)
	}
	return d.serve(ctx)
}

// daemon is an assembled daemon: every room is open, nothing is served yet.
type daemon struct {
	Config
	ports         *portalloc.Allocation
	ledger        *ledger.Ledger
	tap           *tap.Tap
	mitm          *capture.Interceptor
	clients       *clients
	learned       learned
	believers     believers
	introductions introductions
	clerk         *clerk
	state         state
	ca            *ca.Authority
	key           secret.Secret
	token         secret.Secret
}

func open(ctx context.Context, c Config) (_ *daemon, err error) {
	d := &daemon{Config: c}
	if d.key, err = secret.Read(filepath.Join(c.Dir, "edge-key")); err != nil {
		return nil, err
	}
	if d.token, err = secret.Read(filepath.Join(c.Dir, "api-token")); err != nil {
		return nil, err
	}
	authority, err := ca.Load(filepath.Join(c.Dir, "ca"))
	if err != nil {
		return nil, err
	}
	d.ca = authority
	d.ports, err = portalloc.Negotiation{
		StateFile: filepath.Join(c.Dir, "effective-ports.json"),
		Ports:     []portalloc.Port{c.Internal, c.API},
		Known:     map[string]int{"edge": c.EdgePort},
		Logger:    c.Logger,
	}.Negotiate(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.ports.Close()
		}
	}()
	d.learned.restore(c.Dir, c.Logger)
	d.ledger, err = ledger.Open(ctx, ledger.Config{Dir: c.Dir, KeepDays: c.KeepDays, Logger: c.Logger})
	if err != nil {
		return nil, err
	}
	// Without a home directory nobody stands in it.
	home, _ := os.UserHomeDir()
	projects := newProjects(attribution.Resolver{Default: c.DefaultProject, Home: home})
	finder := &peer.Finder{Server: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(c.EdgePort))}
	d.clients = &clients{projects: projects, lookout: lookout{look: finder.Find, log: c.Logger}}
	d.clerk = &clerk{
		projects: projects,
		clients:  d.clients,
		cashier:  booking.Cashier{Book: c.Prices, Billed: d.billed},
		ledger:   d.ledger,
		log:      c.Logger,
	}
	d.tap = &tap.Tap{
		Done:      d.clerk.close,
		Void:      d.clerk.void,
		NewParser: func(x tap.Exchange) provider.Parser { return x.Endpoint.NewParser() },
		Logger:    c.Logger,
	}
	d.mitm = &capture.Interceptor{
		Authority:    authority,
		Tap:          d.tap,
		Metered:      c.Providers.IsMetered,
		Lookup:       c.Providers.Lookup,
		IncludeUsage: c.IncludeUsage,
		Opened:       d.clerk.open,
		NewID:        ledger.NewID,
		Dial:         c.Dial,
		RootCAs:      c.RootCAs,
		Rejected:     d.rejected,
		Trusted:      d.trusted,
		Logger:       c.Logger,
	}
	return d, nil
}

// admit refuses tunnels that the edge should take to the provider itself, and
// has the client of the others looked for.
func (d *daemon) admit(c proxyedge.Chain) error {
	if d.state.draining() {
		return errDraining
	}
	if c.Host == reserved.Metered && !c.Plain {
		return nil
	}
	if err := d.mitm.Admit(c); err != nil {
		return err
	}
	if c.Plain {
		d.clients.arrive(c, false)
		return nil
	}
	since, taught := addedRoot(d.ca, c.Host), d.learned.knows(c.Host)
	cl := d.clients.arrive(c, taught || !since.IsZero())
	switch {
	case !since.IsZero() && !cl.startedAfter(since):
		d.clients.leave(c)
		return errOlder
	case taught && (!cl.looked() || d.learned.passes(c.Host, cl.what())):
		// Who is not found in time may be the one that would fail.
		d.clients.leave(c)
		return errLearned
	}
	return nil
}

// rejected learns from a client that did not trust our certificate.
func (d *daemon) rejected(c proxyedge.Chain, sure bool) {
	cl := d.clients.of(c.Client)
	d.introductions.await(cl, func() {
		// Who is not found in time is not held against those of whom it is
		// known that they cannot be found.
		if !sure && (!cl.looked() || d.believers.has(cl.believes(c.Host))) {
			return
		}
		program := cl.what()
		if d.learned.rejected(c.Host, program, sure) {
			d.Logger.Warn("capture.client.learned", "host", c.Host, "program", program)
		}
	})
}

func (d *daemon) trusted(c proxyedge.Chain) {
	cl := d.clients.of(c.Client)
	d.introductions.await(cl, func() {
		who := cl.believes(c.Host)
		who.host = c.Host // of whoever it was
		d.believers.add(who)
		d.learned.trusted(c.Host, cl.what())
	})
}

// health is nil while exchanges are metered and stored.
func (d *daemon) health() error {
	if err := d.state.err(); err != nil {
		return err
	}
	return d.ledger.Storable()
}

// warnings are what is amiss while the daemon meters: what is not told would
// be lost in silence.
func (d *daemon) warnings() []string {
	var out []string
	warn := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	st := d.ledger.Status()
	if st.InMemory > 0 {
		warn("%d rows are in memory only: neither the journal (%v) nor the database (%v) takes them", st.InMemory, st.JournalErr, st.DatabaseErr)
	} else if st.DatabaseErr != nil {
		warn("the database takes no rows now, the journal keeps them: %v", st.DatabaseErr)
	}
	switch {
	case st.InReserve:
		warn("the disk is full, and rows go into the journal's reserve: %d kB of it are left, free some space", st.ReserveLeft>>10)
	case st.ReserveLeft == 0:
		warn("the disk is too full for the journal's reserve: free some space")
	}
	if st.Lost > 0 {
		warn("%d exchanges could not be stored", st.Lost)
	}
	out = append(out, d.learned.list()...)
	out = append(out, unread(d.mitm.Bypassed(), d.mitm.Counters())...)
	for _, path := range st.SetAside {
		warn("a corrupt ledger was set aside, and rows of it may be missing: %s (halton-meter db check)", path)
	}
	return out
}

// flush waits until every exchange that has ended is stored.
func (d *daemon) flush(ctx context.Context) error {
	if err := d.tap.Flush(ctx); err != nil {
		return err
	}
	return d.ledger.Flush(ctx)
}

func (d *daemon) apiServer() *api.Server {
	return &api.Server{
		Version: version.Version, Health: d.health, Warnings: d.warnings, Flush: d.flush, Token: d.token.String(), Logger: d.Logger,
	}
}

// otherDaemon names the daemon that holds the lock.
func otherDaemon(dir string) string {
	rec, err := portalloc.ReadRecord(filepath.Join(dir, "effective-ports.json"))
	if err == nil && rec.Live() {
		return fmt.Sprintf("another daemon runs on %s: process %d, since %s", dir, rec.PID, rec.StartedAt.Local().Format(time.DateTime))
	}
	return fmt.Sprintf("another daemon runs on %s", dir)
}
