package agents

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/edgectl"
	"github.com/haltonlabs/halton-meter/internal/secret"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/portalloc"
	"github.com/haltonlabs/halton-meter/proxyedge"
)

const (
	// edgeBudget bounds how long a fresh edge may take to answer.
	edgeBudget = 10 * time.Second
	// edgeReturn is how long one that launchd restarts may be silent. Its
	// throttle is 1 s.
	edgeReturn = 4 * time.Second
	// upgradeBudget bounds an upgrade in place: the trial of the new program,
	// the requests that end first, and its start.
	upgradeBudget = 20 * time.Second
)

// Errors of the edge that a command has another hint for.
var (
	ErrNoEdgePlist   = errors.New("the edge has no plist")
	ErrEdgePortTaken = errors.New("the edge's port is taken")
)

// chooseEdgePort is the port in the edge's plist while that edge is ours or
// its port is free; else a free one, which it records.
func (in *Installer) chooseEdgePort(ctx context.Context) (int, error) {
	pinned := in.Config.Daemon.EdgePort
	port := EdgePort(in.Paths)
	if port == 0 {
		port = in.orphanedPort(ctx)
	}
	if port != 0 && (pinned == 0 || pinned == port) && in.holdsPort(ctx, port) {
		return port, nil
	}
	if ctx.Err() != nil {
		// Whoever has the port, nobody was asked long enough.
		return 0, context.Cause(ctx)
	}
	a, err := portalloc.Negotiation{
		StateFile:  in.Paths.Ports(),
		Ports:      []portalloc.Port{EdgeChoice(pinned)},
		ForAnother: true,
		// The daemon chooses these, each time that it starts.
		Known: map[string]int{"internal": 0, "api": 0},
	}.Negotiate(ctx)
	if err != nil {
		return 0, err
	}
	// The edge is another process: launchd binds the port for it, right after.
	defer a.Close()
	return a.Port("edge"), nil
}

// holdsPort reports whether the port is our edge's. While the edge is down,
// launchd holds its port: then nobody answers and nobody else can bind it.
func (in *Installer) holdsPort(ctx context.Context, port int) bool {
	err := in.edgeAnswers(ctx, port)
	if err == nil {
		return true
	}
	if _, lerr := in.Supervisor.Print(ctx, in.Supervisor.Target(Edge)); lerr != nil {
		return false // not loaded: whoever has the port is a stranger
	}
	ctx, cancel := context.WithTimeout(ctx, edgeReturn)
	defer cancel()
	for !errors.Is(err, proxyedge.ErrStranger) {
		select {
		case <-ctx.Done():
			// Down or hung. Who is on the port?
			h := in.strangerOn(port)
			return h.PID == 0 && portInUse(port)
		case <-time.After(25 * time.Millisecond):
		}
		if err = in.edgeAnswers(ctx, port); err == nil {
			return true
		}
	}
	return false
}

func portInUse(port int) bool {
	ln, err := net.Listen("tcp", EdgeAddress(port))
	if err == nil {
		ln.Close()
	}
	return err != nil
}

// BringUpEdge brings the edge's job to its plist and waits until the edge
// answers. A job that is loaded as it should be is left alone: if only the
// program was replaced, the edge becomes the new one in place.
func (in *Installer) BringUpEdge(ctx context.Context) (string, error) {
	port := in.edgePort
	if port == 0 {
		port = EdgePort(in.Paths)
	}
	if port == 0 {
		return "", ErrNoEdgePlist
	}
	addr := EdgeAddress(port)
	job := Jobs(in.Paths, port)[Edge]
	if in.plistIs(Edge, job) && in.edgeAnswers(ctx, port) == nil {
		return addr + " (" + in.upgradeEdge(ctx) + ")", nil
	}
	in.awaitOrphan(ctx, port)
	// A plist that has changed counts for launchd only after a bootout, which
	// ends the edge with its tunnels and closes launchd's socket: descriptors
	// cannot outlive their process.
	res, err := in.Supervisor.Apply(ctx, in.Supervisor.Domain, in.Paths.Plist(Edge), job, in.loadOptions())
	if err != nil {
		return "", err
	}
	if res.Unchanged || res.AlreadyLoaded {
		// Loaded and not answering: launchd may have put the start off.
		if _, err := in.Supervisor.Kickstart(ctx, in.Supervisor.Target(Edge), launchd.KickstartOptions{}); err != nil && !errors.Is(err, launchd.ErrInFlux) {
			return "", err
		}
	}
	err = in.awaitEdge(ctx, port)
	if err == nil || ctx.Err() != nil || errors.Is(err, ErrEdgePortTaken) {
		return addr, err
	}
	// It runs and is hung, so it serves nobody.
	if _, restartErr := in.Supervisor.Restart(ctx, in.Supervisor.Target(Edge)); restartErr != nil {
		return "", errors.Join(err, restartErr)
	}
	return addr + " (restarted, since it did not answer)", in.awaitEdge(ctx, port)
}

// upgradeEdge makes an edge that runs an older program than the installed one
// become that, in place. If it cannot, it goes on as it is: whatever program
// it runs, traffic flows. It tells what came of it.
func (in *Installer) upgradeEdge(ctx context.Context) string {
	const postponed = "already up; it upgrades as soon as nothing is open that it would cut"
	ask, stop := context.WithTimeout(ctx, time.Second)
	rep, err := edgectl.Ask(ask, in.Paths.EdgeSocket())
	if stop(); err == nil && rep.Postponed {
		return postponed
	}
	program, current := edgeProgram(ctx, in.Paths)
	if current {
		return "already up"
	}
	ctx, cancel := context.WithTimeout(ctx, upgradeBudget)
	defer cancel()
	switch err := edgectl.Upgrade(ctx, in.Paths.EdgeSocket(), program); {
	case err == nil:
		return "upgraded in place"
	case errors.Is(err, edgectl.ErrPostponed):
		return postponed
	default:
		return "already up, with the program of before: " + err.Error()
	}
}

// ReloadEdge has the running edge become itself anew, in place: it reads the
// configuration again, and no tunnel is cut.
func ReloadEdge(ctx context.Context, p Paths) error {
	program, err := edgectl.ProgramID(p.Program())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, upgradeBudget)
	defer cancel()
	return edgectl.Upgrade(ctx, p.EdgeSocket(), program)
}

// EdgeIsCurrent is false if the running edge is known to run another program
// than the installed one, or to reach providers by another way than it should.
func EdgeIsCurrent(ctx context.Context, p Paths) bool {
	_, current := edgeProgram(ctx, p)
	return current
}

func edgeProgram(ctx context.Context, p Paths) (installed string, current bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	installed, err := edgectl.ProgramID(p.Program())
	if err != nil {
		return "", true // there is nothing to become
	}
	rep, err := edgectl.Ask(ctx, p.EdgeSocket())
	return installed, err != nil || rep.Postponed || rep.Program == installed && setupIs(p, rep)
}

func (in *Installer) awaitEdge(ctx context.Context, port int) error {
	ctx, cancel := context.WithTimeout(ctx, edgeBudget)
	defer cancel()
	for {
		err := in.edgeAnswers(ctx, port)
		if err == nil {
			return nil
		}
		if errors.Is(err, proxyedge.ErrStranger) {
			return portTaken(port, portalloc.FindHolder(ctx, port))
		}
		select {
		case <-ctx.Done():
			if h := in.strangerOn(port); h.PID != 0 {
				return portTaken(port, h)
			}
			return fmt.Errorf("the edge is loaded and does not answer on %s: %w (see %s)", EdgeAddress(port), err, in.Paths.Log(Edge, "err"))
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// plistIs reports whether the label's plist is the job's.
func (in *Installer) plistIs(label string, job *launchd.Job) bool {
	want, err := job.Encode()
	if err != nil {
		return false
	}
	got, err := smallfile.Read(in.Paths.Plist(label), smallfile.Max)
	return err == nil && bytes.Equal(got, want)
}

// strangerOn is who else than our edge, and launchd for it, holds the port,
// and says nothing.
func (in *Installer) strangerOn(port int) portalloc.Holder {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	h := portalloc.FindHolder(ctx, port)
	if HeldForUs(in.Paths, h) {
		return portalloc.Holder{}
	}
	if svc, err := in.Supervisor.Print(ctx, in.Supervisor.Target(Edge)); err == nil && svc.PID == h.PID {
		return portalloc.Holder{}
	}
	return h
}

// portTaken says who has the edge's port.
func portTaken(port int, h portalloc.Holder) error {
	who := "another program"
	if h.PID != 0 {
		who = fmt.Sprintf("%s (process %d)", h.Command, h.PID)
	}
	return fmt.Errorf("%w: %s listens on %s", ErrEdgePortTaken, who, EdgeAddress(port))
}

func (in *Installer) edgeAnswers(ctx context.Context, port int) error {
	return EdgeAnswers(ctx, in.Paths, port)
}

// answerTime is what an edge has to answer in. One that is not there is known
// at once, as the connection is refused; so only a machine that is busy takes
// this long, and one whose edge hangs.
const answerTime = 2 * time.Second

// EdgeAnswers is nil if our own edge, and not a stranger, answers on port.
func EdgeAnswers(ctx context.Context, p Paths, port int) error {
	key, err := secret.Read(p.EdgeKey())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	return proxyedge.Identify(ctx, EdgeAddress(port), key)
}

// EdgeAddress is where the edge listens.
func EdgeAddress(port int) string { return net.JoinHostPort(edgeHost, strconv.Itoa(port)) }

// EdgePort is the port in the edge's plist, 0 if there is none.
func EdgePort(p Paths) int {
	data, err := smallfile.Read(p.Plist(Edge), smallfile.Max)
	if err != nil {
		return 0
	}
	job, err := launchd.ParseJob(data)
	if err != nil {
		return 0
	}
	for i, arg := range job.ProgramArguments {
		if arg == "--port" && i+1 < len(job.ProgramArguments) {
			port, err := strconv.Atoi(job.ProgramArguments[i+1])
			if err == nil && port > 0 && port < 1<<16 {
				return port
			}
		}
	}
	return 0
}

// StateOfPlists is the state directory that the launch agents work in, "" if
// there is no plist of the edge's.
func StateOfPlists(p Paths) string {
	data, err := smallfile.Read(p.Plist(Edge), smallfile.Max)
	if err != nil {
		return ""
	}
	job, err := launchd.ParseJob(data)
	if err != nil {
		return ""
	}
	return job.EnvironmentVariables["HALTON_METER_HOME"]
}

// HeldForUs reports whether the holder of a port is a supervisor, which keeps
// the sockets of its jobs: launchd, systemd, or the emulator, which is this
// program.
func HeldForUs(p Paths, h portalloc.Holder) bool {
	name := filepath.Base(p.Program())
	// The kernel cuts names.
	return h.PID == 1 || h.Command == Systemd || h.Command != "" && strings.HasPrefix(name, h.Command)
}
