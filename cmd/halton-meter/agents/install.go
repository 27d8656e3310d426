package agents

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/internal/atomicfile"
	"github.com/haltonlabs/halton-meter/internal/secret"
	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/meter/ca"
	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/portalloc"
	"github.com/haltonlabs/halton-meter/proxyedge"
)

// ModeEnvOnly is the install mode in which nothing on the machine is changed
// but our own files: only "halton-meter run" leads traffic through the edge.
const ModeEnvOnly = "env-only"

// BootstrapBudget is how long a bootstrap is tried again.
const BootstrapBudget = 25 * time.Second

// edgeBudget bounds how long a fresh edge may take to answer.
const edgeBudget = 10 * time.Second

// Installer sets the product up. Every step may be done again.
type Installer struct {
	Paths      Paths
	Config     config.Config
	Supervisor Supervisor
	// Executable is the program to install; jobs run a copy of it.
	Executable string
	// Getenv is the environment of the command that installs.
	Getenv func(string) string
}

// Step is one step of the installation; it returns what to tell of it.
type Step struct {
	Name string
	Do   func(context.Context) (string, error)
}

// Steps are the steps of an env-only installation, in order.
func (in *Installer) Steps() []Step {
	return []Step{
		{"state directory", in.stateDirectory},
		{"program", in.program},
		{"keys", in.keys},
		{"certificate authority", in.authority},
		{"trust bundle", in.bundle},
		{"launch agents", in.plists},
		{"install mode", in.mode},
		{"login agent", in.loadUserEnv},
		{"edge", in.BringUpEdge},
	}
}

func (in *Installer) stateDirectory(context.Context) (string, error) {
	if err := os.MkdirAll(in.Paths.State, 0o700); err != nil {
		return "", err
	}
	// It may be older than this installation, and made with another umask.
	if err := os.Chmod(in.Paths.State, 0o700); err != nil { //nolint:gosec // a directory needs its x bit
		return "", err
	}
	return in.Paths.State, nil
}

func (in *Installer) program(context.Context) (string, error) {
	to := in.Paths.Program()
	same, err := sameContent(in.Executable, to)
	if err != nil || same {
		return to, err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return "", err
	}
	return to, atomicfile.Copy(to, in.Executable, 0o755)
}

func (in *Installer) keys(context.Context) (string, error) {
	if err := secret.Ensure(in.Paths.EdgeKey()); err != nil {
		return "", err
	}
	return "edge-key, api-token", secret.Ensure(in.Paths.Token())
}

func (in *Installer) authority(context.Context) (string, error) {
	dir := in.Paths.CA()
	if _, err := os.Stat(filepath.Join(dir, "ca.pem")); errors.Is(err, os.ErrNotExist) {
		if err := ca.Create(dir, provider.Hosts()); err != nil {
			return "", err
		}
		return "created, for " + strconv.Itoa(len(provider.Hosts())) + " hosts", nil
	}
	if _, err := ca.Load(dir); err != nil {
		return "", err
	}
	return "kept", nil
}

func (in *Installer) bundle(context.Context) (string, error) {
	return in.Paths.Bundle(), EnsureBundle(in.Paths, in.Config, in.Getenv)
}

func (in *Installer) mode(context.Context) (string, error) {
	if err := os.Remove(in.Paths.Uninstalled()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return ModeEnvOnly, atomicfile.Write(in.Paths.InstallMode(), []byte(ModeEnvOnly+"\n"), 0o600)
}

// plists writes the four plists. The edge keeps the port that it has.
func (in *Installer) plists(ctx context.Context) (string, error) {
	port, err := in.chooseEdgePort(ctx)
	if err != nil {
		return "", err
	}
	for label, job := range Jobs(in.Paths, port) {
		if err := in.writePlist(label, job); err != nil {
			return "", err
		}
	}
	return "edge on 127.0.0.1:" + strconv.Itoa(port), nil
}

func (in *Installer) writePlist(label string, job *launchd.Job) error {
	data, err := job.Encode()
	if err != nil {
		return err
	}
	path := in.Paths.Plist(label)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as macOS makes ~/Library/LaunchAgents
		return err
	}
	return atomicfile.Write(path, data, 0o644)
}

// chooseEdgePort is the port in the edge's plist while that edge is ours or
// its port is free; else a free one, which it records.
func (in *Installer) chooseEdgePort(ctx context.Context) (int, error) {
	pinned := in.Config.Daemon.EdgePort
	if port := EdgePort(in.Paths); port != 0 && (pinned == 0 || pinned == port) && in.edgeAnswers(ctx, port) == nil {
		return port, nil
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
	// The edge is another process: it binds the port itself, right after.
	defer a.Close()
	return a.Port("edge"), nil
}

// loadUserEnv registers the login agent, so that this session is like the
// ones that begin with a login.
func (in *Installer) loadUserEnv(ctx context.Context) (string, error) {
	_, err := in.Supervisor.Load(ctx, in.Supervisor.Domain, in.Paths.Plist(UserEnv), in.loadOptions())
	return UserEnv, err
}

func (in *Installer) loadOptions() launchd.LoadOptions {
	return launchd.LoadOptions{Budget: BootstrapBudget, Postmortem: in.Paths.Postmortem()}
}

// BringUpEdge loads the edge if it is not, and waits until it answers.
func (in *Installer) BringUpEdge(ctx context.Context) (string, error) {
	port := EdgePort(in.Paths)
	if port == 0 {
		return "", ErrNoEdgePlist
	}
	addr := EdgeAddress(port)
	if in.edgeAnswers(ctx, port) == nil {
		return addr + " (already up)", nil
	}
	target := in.Supervisor.Target(Edge)
	res, err := in.Supervisor.Load(ctx, in.Supervisor.Domain, in.Paths.Plist(Edge), in.loadOptions())
	if err != nil {
		return "", err
	}
	if res.AlreadyLoaded {
		// Loaded and not answering: launchd may have put the start off.
		if _, err := in.Supervisor.Kickstart(ctx, target, launchd.KickstartOptions{}); err != nil && !errors.Is(err, launchd.ErrInFlux) {
			return "", err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, edgeBudget)
	defer cancel()
	for {
		err := in.edgeAnswers(ctx, port)
		if err == nil {
			return addr, nil
		}
		if errors.Is(err, proxyedge.ErrStranger) {
			return "", portTaken(port, portalloc.FindHolder(ctx, port))
		}
		select {
		case <-ctx.Done():
			if h := in.strangerOn(port); h.PID != 0 {
				return "", portTaken(port, h)
			}
			return "", fmt.Errorf("the edge is loaded and does not answer on %s: %w (see %s)", addr, err, in.Paths.Log(Edge, "err"))
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// Errors of the edge that a command has another hint for.
var (
	ErrNoEdgePlist   = errors.New("the edge has no plist")
	ErrEdgePortTaken = errors.New("the edge's port is taken")
)

// strangerOn is who else than our edge holds the port, and says nothing.
func (in *Installer) strangerOn(port int) portalloc.Holder {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	h := portalloc.FindHolder(ctx, port)
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

// EdgeAnswers is nil if our own edge, and not a stranger, answers on port.
func EdgeAnswers(ctx context.Context, p Paths, port int) error {
	key, err := secret.Read(p.EdgeKey())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 250*time.Millisecond)
	defer cancel()
	return proxyedge.Identify(ctx, EdgeAddress(port), key)
}

// EdgeAddress is where the edge listens.
func EdgeAddress(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// EdgePort is the port in the edge's plist, 0 if there is none.
func EdgePort(p Paths) int {
	data, err := os.ReadFile(p.Plist(Edge))
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

// sameContent reports whether the file at b is there and equals the one at a.
func sameContent(a, b string) (bool, error) {
	want, err := os.ReadFile(a)
	if err != nil {
		return false, err
	}
	got, err := os.ReadFile(b)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return bytes.Equal(want, got), err
}
