package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/haltonlabs/halton-meter/internal/atomicfile"
	"github.com/haltonlabs/halton-meter/internal/process"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
)

// The files of a supervisor in its Dir.
const (
	lockFile     = "launchd.lock"
	sockFile     = "launchd.sock"
	logFile      = "launchd.log"
	stateFile    = "launchd-state.json"
	disabledFile = "launchd-disabled.json"
)

// savedState is what a supervisor leaves behind for the case that it is
// killed. Boot tells whether it is of this run of the system: after a reboot
// nothing is loaded and no variable is set, as in a new login session.
type savedState struct {
	Boot string
	Env  map[string]string `json:",omitempty"`
	Jobs []savedJob        `json:",omitempty"`
}

type savedJob struct {
	Domain    string
	Path      string
	Plist     []byte // as bootstrapped; the file may have changed since
	PIDID     string `json:",omitempty"`
	SpawnFail string `json:",omitempty"`
	Life      life
}

// load reads the state file. A missing, unreadable or outdated one is empty:
// there is nobody whom an error would help.
func (s *savedState) load(dir string) error {
	*s = savedState{}
	data, err := smallfile.Read(filepath.Join(dir, stateFile), smallfile.Max)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, s)
	}
	boot, bootErr := process.BootID()
	err = errors.Join(err, bootErr)
	if err != nil || s.Boot != boot {
		*s = savedState{}
	}
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	return nil
}

func (s *savedState) empty() bool { return len(s.Jobs) == 0 && len(s.Env) == 0 }

// save writes the state file, or removes it when there is nothing to say.
func (s *savedState) save(dir string) error {
	path := filepath.Join(dir, stateFile)
	if s.empty() {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("save state: %w", err)
		}
		return nil
	}
	var data []byte
	var err error
	if s.Boot, err = process.BootID(); err == nil {
		data, err = json.MarshalIndent(s, "", "\t")
	}
	if err == nil {
		err = atomicfile.Write(path, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return nil
}

// readDisabled reads the set of labels that were ever enabled or disabled. It
// outlives supervisors, reboots and the jobs themselves.
func readDisabled(dir string) (map[string]bool, error) {
	set := map[string]bool{}
	data, err := smallfile.Read(filepath.Join(dir, disabledFile), smallfile.Max)
	if errors.Is(err, fs.ErrNotExist) {
		return set, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &set)
	}
	if err != nil {
		return map[string]bool{}, fmt.Errorf("read disabled set: %w", err)
	}
	return set, nil
}

func writeDisabled(dir string, set map[string]bool) error {
	data, err := json.MarshalIndent(set, "", "\t")
	if err == nil {
		err = atomicfile.Write(filepath.Join(dir, disabledFile), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write disabled set: %w", err)
	}
	return nil
}
