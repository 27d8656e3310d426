package emulator

import (
	"os"
	"time"
)

// OS is a macOS release whose launchd is emulated.
type OS int

// The releases whose answers differ.
const (
	MacOS12 OS = 12
	MacOS13 OS = 13
	MacOS15 OS = 15
	MacOS26 OS = 26
)

// Knobs choose among the behaviours that launchd has shown in the field. The
// zero value is a current macOS at its best.
type Knobs struct {
	// OS selects the dialect. Zero is MacOS26.
	OS OS `json:",omitzero"`
	// PreciseErrors reports what launchd itself logs, such as 37 or 119,
	// instead of the 5 that launchctl makes of it.
	PreciseErrors bool `json:",omitzero"`
	// TeardownDelay keeps a label taken after the job's process has died.
	TeardownDelay time.Duration `json:",omitzero"`
	// PendSpawns, if not empty, puts off every start that nobody demanded,
	// for this reason: "speculative" or "inefficient".
	PendSpawns string `json:",omitzero"`
	// NoGUI is a user without a graphical session, as over SSH.
	NoGUI bool `json:",omitzero"`
	// NoRootGUI answers 125 for gui/0, as macOS does. Without it root is
	// served like everybody else.
	NoRootGUI bool `json:",omitzero"`
	// KickstartRunning is the exit code of kickstart, without -k, for a job
	// that runs. Field reports say 0, launchctl's code 37.
	KickstartRunning int `json:",omitzero"`
	// BootoutInProgress makes bootout of a living job answer 36, as before
	// macOS 12.
	BootoutInProgress bool `json:",omitzero"`
	// Blocked are labels that the user has not approved in the system's
	// settings for login items.
	Blocked []string `json:",omitzero"`
}

func (k Knobs) os() OS {
	if k.OS == 0 {
		return MacOS26
	}
	return k.OS
}

func isRoot() bool { return os.Getuid() == 0 }
