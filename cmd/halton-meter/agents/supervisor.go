package agents

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/systemd"
	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
)

// Supervisor runs the four jobs: launchd, or where the system has none, the
// emulator that this program brings, or systemd's user manager. All three are
// spoken to in launchctl's verbs: launchd by running its launchctl, the others
// by what answers for one.
type Supervisor struct {
	*launchd.Client
	Domain launchd.DomainTarget
	// Name says which it is, for status.
	Name string
}

// The names of the supervisors beside launchd.
const (
	// Emulator is the one that this program brings.
	Emulator = "emulator"
	// Systemd is the user manager, if "init --systemd" has chosen it.
	Systemd = "systemd"
)

// FindSupervisor chooses it: $HALTON_METER_LAUNCHCTL names a launchctl, else
// macOS has its own, else units of ours mean systemd, else it is this
// program's.
func FindSupervisor(p Paths, getenv func(string) string) Supervisor {
	s := Supervisor{Client: &launchd.Client{}, Domain: launchd.GUI(os.Getuid())}
	switch named := getenv("HALTON_METER_LAUNCHCTL"); {
	case named != "":
		s.Name, s.Command = named, []string{named}
	case runtime.GOOS == "darwin":
		s.Name, s.Command = "launchd", []string{"/bin/launchctl"}
	case Units(p).Installed(Labels...):
		return SystemdSupervisor(p)
	default:
		return EmulatorSupervisor(p)
	}
	return s
}

// EmulatorSupervisor is the one that this program brings.
func EmulatorSupervisor(p Paths) Supervisor {
	return Supervisor{
		Client: &launchd.Client{
			Command: []string{"launchctl"},
			Run: func(ctx context.Context, argv, _ []string) (launchd.Output, error) {
				var stdout, stderr bytes.Buffer
				code := EmulatedLaunchctl(p).Run(ctx, argv[1:], &stdout, &stderr)
				return launchd.Output{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Code: code}, nil
			},
		},
		Domain: launchd.GUI(os.Getuid()), Name: Emulator,
	}
}

// EmulatedLaunchctl speaks to the emulator, and starts it where it is needed:
// from the copy of this program, which outlives "go run" and stays when a
// package manager takes the other away.
func EmulatedLaunchctl(p Paths) *emulator.Launchctl {
	program := p.Program()
	if exe, err := os.Executable(); err == nil && !runnable(program) {
		program = exe
	}
	return &emulator.Launchctl{Dir: p.State, Start: []string{program, "launchd"}}
}

// Reachable reports whether there is a program to speak to the supervisor
// with. Without it nothing can be loaded by it either.
func (s Supervisor) Reachable() bool { return s.Name == Emulator || runnable(s.Command[0]) }

func runnable(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// SystemdSupervisor is systemd's user manager.
func SystemdSupervisor(p Paths) Supervisor {
	units := Units(p)
	return Supervisor{
		Client: &launchd.Client{
			Command: []string{"systemctl"},
			Run: func(ctx context.Context, argv, _ []string) (launchd.Output, error) {
				return units.Run(ctx, argv[1:])
			},
		},
		Domain: launchd.GUI(os.Getuid()), Name: Systemd,
	}
}

// Units are those of this product in the user's systemd: halton-meter.service,
// halton-meter-edge.service and so on.
func Units(p Paths) systemd.Launchctl {
	return systemd.Launchctl{
		Dir: filepath.Join(p.Home, ".config", "systemd", "user"),
		Name: func(label string) string {
			return "halton-meter" + strings.ReplaceAll(strings.TrimPrefix(label, Daemon), ".", "-")
		},
	}
}

// LaunchctlCommand is how a user types a call of the supervisor's launchctl.
func (s Supervisor) LaunchctlCommand() []string {
	switch s.Name {
	case Emulator, Systemd:
		return []string{"halton-meter", "launchctl"}
	}
	return []string{s.Command[0]}
}

// Target is the job with the label, one of Labels, in the user's domain.
func (s Supervisor) Target(label string) launchd.ServiceTarget {
	t, err := s.Domain.Service(label)
	if err != nil {
		// The labels are constants of this package.
		panic(fmt.Sprintf("label %q: %v", label, err))
	}
	return t
}
