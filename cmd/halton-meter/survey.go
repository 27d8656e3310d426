package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/edgectl"
	"github.com/haltonlabs/halton-meter/internal/version"
	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/meter/ledger"
	"github.com/haltonlabs/halton-meter/portalloc"
	"github.com/haltonlabs/halton-meter/proxyedge"
)

// statusReport is what status --json prints; the names are a promise.
type statusReport struct {
	Version     string            `json:"version"`
	InstallMode string            `json:"install_mode"`
	Healthy     bool              `json:"healthy"`
	ExitCode    int               `json:"exit_code"`
	Supervisor  string            `json:"supervisor"`
	Components  []component       `json:"components"`
	Ports       map[string]int    `json:"ports"`
	Metering    metering          `json:"metering"`
	Warnings    []string          `json:"warnings,omitempty"`
	Traffic     *proxyedge.Status `json:"traffic"`
	LastRow     *ledger.Row       `json:"last_row"`
	Hint        string            `json:"hint,omitempty"`
}

// component is one row of the table.
type component struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Detail string `json:"detail,omitempty"`
	Label  string `json:"label,omitempty"`
	PID    int    `json:"pid,omitempty"`

	good, bad bool
}

// metering says whether calls are metered now.
type metering struct {
	On     bool       `json:"on"`
	Since  *time.Time `json:"since"`
	Reason string     `json:"reason,omitempty"`
}

// surveyor collects a report.
type surveyor struct {
	*app
	rep  statusReport
	rec  portalloc.Record
	live bool
	jobs map[string]*launchd.Service // nil value: not loaded
	edge *edgectl.Report
	// silent is why the supervisor could not be asked, nil if it could.
	silent error
}

// survey looks at everything once, and changes nothing.
func (a *app) survey(ctx context.Context) statusReport {
	s := &surveyor{app: a, jobs: map[string]*launchd.Service{}}
	s.rep = statusReport{
		Version: version.Version, InstallMode: a.paths.Mode(), Supervisor: a.supervisor.Name,
		Ports: map[string]int{"edge": agents.EdgePort(a.paths), "internal": 0, "api": 0},
	}
	if s.rep.InstallMode == "" {
		s.rep.ExitCode = exitNotInstalled
		s.rep.Metering.Reason = "halton-meter is not set up"
		s.rep.Hint = "halton-meter init sets it up"
		state := "none"
		if f := (*failure)(nil); errors.As(a.mayEnter(), &f) {
			state, s.rep.Metering.Reason, s.rep.Hint = "unknown", f.Error(), f.hint
		}
		s.add(component{Name: "install mode", State: state, bad: true})
		return s.rep
	}
	s.add(component{Name: "install mode", State: s.rep.InstallMode, Detail: a.paths.InstallMode()})
	s.add(component{Name: "supervisor", State: a.supervisor.Name})
	s.rec, s.live = a.ports()
	s.edgeReport(ctx)

	daemonErr := s.daemon(ctx)
	s.job(ctx, agents.Watchdog)
	edgeErr := s.edgeRow(ctx)
	s.job(ctx, agents.UserEnv)
	s.listeners(ctx, daemonErr)
	s.systemProxy(ctx)
	s.sentinels()
	s.judge(daemonErr, edgeErr)
	if err := agents.UpstreamAnswers(ctx, s.paths); err != nil {
		s.rep.Warnings = append(s.rep.Warnings, err.Error())
	}
	s.lastRow(ctx)
	return s.rep
}

func (s *surveyor) add(c component) { s.rep.Components = append(s.rep.Components, c) }

// load asks the supervisor for a job and remembers the answer.
func (s *surveyor) load(ctx context.Context, label string) (component, bool) {
	c := component{Name: agents.ShortName(label), Label: label}
	svc, err := s.ask(ctx, label)
	switch {
	case errors.Is(err, launchd.ErrNotLoaded):
		c.State, c.Detail, c.bad = "not loaded", label, true
		return c, false
	case err != nil:
		c.State, c.Detail, c.bad = "unknown", err.Error(), true
		s.silent = err
		return c, false
	}
	s.jobs[label] = svc
	c.PID = svc.PID
	if svc.PID != 0 {
		c.State, c.Detail, c.good = "running", fmt.Sprintf("PID %d · %s", svc.PID, label), true
		return c, true
	}
	c.State, c.Detail = "not running", label
	if ended := howItEnded(svc); ended != "" {
		c.Detail += " · " + ended
	}
	return c, true
}

// supervisorPatience is what a supervisor gets to tell of a job. One that hangs
// is not asked for the others.
const supervisorPatience = 5 * time.Second

func (s *surveyor) ask(ctx context.Context, label string) (*launchd.Service, error) {
	if s.silent != nil {
		return nil, s.silent
	}
	ctx, cancel := context.WithTimeoutCause(ctx, supervisorPatience, fmt.Errorf("no answer in %s", supervisorPatience))
	defer cancel()
	return s.supervisor.Print(ctx, s.supervisor.Target(label))
}

func (s *surveyor) job(ctx context.Context, label string) {
	c, loaded := s.load(ctx, label)
	if label == agents.UserEnv && loaded {
		// One-shot at login: not to run is its normal state.
		c.State, c.bad = "loaded", false
	} else {
		c.bad = c.PID == 0
	}
	s.add(c)
}

// daemon reports the daemon, and returns why it does not meter.
func (s *surveyor) daemon(ctx context.Context) error {
	c, loaded := s.load(ctx, agents.Daemon)
	err := errors.New("the daemon's job is not loaded")
	at, stopped := agents.LastStop(s.paths)
	if stopped = stopped && !at.After(s.now()); stopped {
		err = errors.New("halton-meter stop")
		s.rep.Metering.Since = &at
	}
	if s.silent != nil {
		err = s.unsupervised(ctx, &c)
	}
	if loaded {
		err = s.daemonHealth(ctx, c)
		if err == nil {
			c.State, c.good = "healthy", true
		} else if c.PID != 0 {
			c.State, c.good, c.bad = "unhealthy", false, true
			c.Detail += " · " + err.Error()
		} else {
			c.bad = true
			if code := s.jobs[agents.Daemon].LastExitCode; stopped && code != nil && *code == 0 {
				err = errors.New("halton-meter stop: a daemon that something starts in the 30 s after it stays down")
			}
		}
	}
	s.add(c)
	return err
}

// unsupervised is for a supervisor that cannot be asked. The daemon's own word
// on whether it meters counts all the same.
func (s *surveyor) unsupervised(ctx context.Context, c *component) error {
	silent := fmt.Errorf("%s cannot be asked: %w", s.supervisor.Name, s.silent)
	c.PID = s.rec.PID
	if !s.live || s.daemonHealth(ctx, *c) != nil {
		c.PID = 0
		s.rep.Hint = s.hintFor(s.silent, "halton-meter start")
		return silent
	}
	c.State, c.good, c.bad = "healthy", true, false
	c.Detail = fmt.Sprintf("PID %d · %s", c.PID, c.Label)
	s.rep.Warnings = append(s.rep.Warnings, silent.Error())
	return nil
}

func (s *surveyor) daemonHealth(ctx context.Context, c component) error {
	if c.PID == 0 {
		reason := "the daemon does not run"
		if ended := howItEnded(s.jobs[agents.Daemon]); ended != "" {
			reason += ": " + ended
		}
		return errors.New(reason)
	}
	if !s.live || s.rec.PID != c.PID {
		return errors.New("the daemon has not told its ports")
	}
	h, err := health(ctx, s.rec.Ports["api"])
	s.rep.Warnings = append(s.rep.Warnings, h.Warnings...)
	return err
}

func (s *surveyor) edgeReport(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	rep, err := edgectl.Ask(ctx, s.paths.EdgeSocket())
	if err != nil {
		// A dead edge left its counts.
		if rep, err = edgectl.Read(s.paths.EdgeCounters()); err != nil {
			return
		}
	}
	s.edge, s.rep.Traffic = &rep, &rep.Status
}

// edgeRow reports the edge, which is expected up whatever the daemon does.
func (s *surveyor) edgeRow(ctx context.Context) error {
	c, _ := s.load(ctx, agents.Edge)
	port := s.rep.Ports["edge"]
	err := agents.EdgeAnswers(ctx, s.paths, port)
	if err == nil {
		c.State, c.good, c.bad = "up", true, false
		c.Detail = strings.TrimPrefix(fmt.Sprintf("%s · %s", agents.EdgeAddress(port), c.Detail), " · ")
	} else {
		c.good, c.bad = false, true
		c.Detail += fmt.Sprintf(" · %s: %v", agents.EdgeAddress(port), err)
		if h := portalloc.FindHolder(ctx, port); h.PID != 0 && h.PID != c.PID && !agents.HeldForUs(s.paths, h) {
			c.Detail += fmt.Sprintf(" · the port is held by %s (process %d)", h.Command, h.PID)
		}
	}
	s.add(c)
	return err
}

func (s *surveyor) listeners(ctx context.Context, daemonErr error) {
	if s.live {
		s.rep.Ports["internal"], s.rep.Ports["api"] = s.rec.Ports["internal"], s.rec.Ports["api"]
	}
	for _, name := range []string{"internal", "api"} {
		c := component{Name: name + " listener", State: "not bound", bad: true}
		if port := s.rep.Ports[name]; port != 0 {
			addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
			c.Detail = addr
			if conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr); err == nil {
				conn.Close()
				c.State, c.good, c.bad = "bound", true, false
			}
		}
		if name == "api" && c.good && daemonErr == nil {
			c.Detail += " · /health 200"
		}
		s.add(c)
	}
}

// unproven reports whether the edge has found since the daemon's start that it
// does not hold the edge's key. Each thinks then that it is well.
func (s *surveyor) unproven() bool {
	return s.edge != nil && s.edge.OffReason == proxyedge.ReasonUnproven && s.edge.OffSince.After(s.rec.StartedAt)
}

// judge sets the verdict and the exit code.
func (s *surveyor) judge(daemonErr, edgeErr error) {
	m := &s.rep.Metering
	defer s.hint()
	switch {
	case s.jobs[agents.Daemon] == nil && daemonErr != nil:
		s.rep.ExitCode = exitNotInstalled
	case daemonErr != nil || edgeErr != nil:
		s.rep.ExitCode = exitUnhealthy
	case s.unproven():
		s.rep.ExitCode = exitUnhealthy
		m.Since, m.Reason = &s.edge.OffSince, "the edge does not know the daemon for ours: "+s.edge.OffDetail
		return
	default:
		s.rep.Healthy, m.On, m.Reason = true, true, ""
		m.Since = &s.rec.StartedAt
		return
	}
	m.Reason = "the edge does not answer"
	if daemonErr != nil {
		m.Reason = daemonErr.Error()
	}
	// A stop is noted. Else the edge notices when the next call comes; before
	// that nobody knows.
	if m.Since == nil && s.edge != nil && !s.edge.OffSince.IsZero() {
		m.Since = &s.edge.OffSince
	}
}

func (s *surveyor) lastRow(ctx context.Context) {
	r, err := ledger.OpenReader(ctx, s.paths.State)
	if err != nil {
		return
	}
	defer r.Close()
	if row, err := r.Last(ctx); err == nil {
		s.rep.LastRow = row
	}
}

// hint is what to type while it is not healthy.
func (s *surveyor) hint() {
	if s.rep.Hint == "" && s.rep.ExitCode != 0 {
		s.rep.Hint = "halton-meter start"
	}
}

// howItEnded says how the last run of a job that does not run ended.
func howItEnded(svc *launchd.Service) string {
	switch {
	case svc == nil:
		return ""
	case svc.LastSignal != "":
		return "was ended by " + svc.LastSignal
	case svc.LastExitCode != nil:
		return fmt.Sprintf("exited with code %d", *svc.LastExitCode)
	}
	return ""
}
