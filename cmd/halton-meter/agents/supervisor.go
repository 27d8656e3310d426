package agents

import (
	"fmt"
	"os"
	"runtime"

	"github.com/haltonlabs/halton-meter/launchd"
)

// Supervisor runs the four jobs: launchd, or where the system has none, the
// emulator that this program brings. Both are reached by running a launchctl.
type Supervisor struct {
	*launchd.Client
	Domain launchd.DomainTarget
	// Name says which it is, for status.
	Name string
}

// Emulator is the name of the supervisor that this program brings.
const Emulator = "emulator"

// FindSupervisor chooses it: $HALTON_METER_LAUNCHCTL names a launchctl, else
// macOS has its own, else it is this program's.
func FindSupervisor(p Paths, getenv func(string) string) Supervisor {
	s := Supervisor{Client: &launchd.Client{}, Domain: launchd.GUI(os.Getuid())}
	switch named := getenv("HALTON_METER_LAUNCHCTL"); {
	case named != "":
		s.Name, s.Command = named, []string{named}
	case runtime.GOOS == "darwin":
		s.Name, s.Command = "launchd", []string{"/bin/launchctl"}
	default:
		s.Name, s.Command = Emulator, []string{p.Program(), "launchctl"}
	}
	return s
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
