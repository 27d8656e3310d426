package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
)

// asYourself refuses a command that sudo made root's: launch agents belong to a
// user, and files of root's in a user's home lock that user out. command is
// what to type instead.
func (a *app) asYourself(command string) error {
	if os.Getuid() != 0 {
		return nil
	}
	hint := "run " + command + " as yourself, without sudo"
	if runtime.GOOS == "darwin" {
		return &failure{err: errors.New("run as root: launch agents belong to a user"), hint: hint}
	}
	// A container's root may well have a home that is another's.
	by := os.Getenv("SUDO_UID")
	if owner, err := ownerOf(a.paths.Home); err == nil && owner != 0 && strconv.Itoa(owner) == by {
		return &failure{err: fmt.Errorf("run as root, with the home of user %d: what it writes to %s would be root's", owner, a.paths.State), hint: hint}
	}
	return nil
}

// elsewhere refuses to take the launch agents, of which a user has one set, from
// an installation in another state directory.
func (a *app) elsewhere() error {
	other := agents.StateOfPlists(a.paths)
	if other == "" || other == a.paths.State {
		return nil
	}
	there, err := os.Stat(agents.Paths{State: other}.InstallMode())
	if err != nil {
		return nil // it is gone
	}
	if here, err := os.Stat(a.paths.InstallMode()); err == nil && os.SameFile(here, there) {
		return nil // by another path
	}
	variable := "HALTON_METER_HOME=" + shellenv.Quote(other)
	if other == agents.DefaultState(a.paths.Home) {
		variable = "HALTON_METER_HOME="
	}
	return &failure{
		err:  fmt.Errorf("halton-meter is set up in another state directory, %s, and you have one set of launch agents", other),
		hint: "export " + variable + " to use that one; or " + variable + " halton-meter uninstall, then try again",
	}
}

// mayEnter is nil if the state directory can be worked in, or there is none.
func (a *app) mayEnter() error {
	state := shellenv.Quote(a.paths.State)
	owner, err := ownerOf(a.paths.State)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && owner != os.Getuid() && os.Getuid() != 0:
		return &failure{
			err:  fmt.Errorf("the state directory %s belongs to user %d, as after a command that was run with sudo", a.paths.State, owner),
			hint: "sudo chown -R $(id -u) " + state + "; or HALTON_METER_HOME names another directory",
		}
	case err == nil:
		var dir *os.File
		if dir, err = os.Open(a.paths.State); err == nil {
			dir.Close()
			_, err = os.Stat(a.paths.InstallMode())
		}
	}
	if errors.Is(err, fs.ErrPermission) {
		return &failure{err: fmt.Errorf("the state directory cannot be entered: %w", err), hint: "chmod 700 " + state}
	}
	return nil
}

// mayMoveIn is nil unless HALTON_METER_HOME names a directory in which there is
// something, and nothing that the meter makes: an installation would close it
// to others, and lie scattered in it.
func (a *app) mayMoveIn() error {
	entries, err := os.ReadDir(a.paths.State)
	if err != nil || len(entries) == 0 || a.paths.State == filepath.Join(a.paths.Home, ".halton-meter") || there(a.paths.Program()) {
		return nil
	}
	for _, e := range entries {
		if isOneOf(ownNames, e.Name()) || isOneOf(ledgerNames, e.Name()) || ledgerDirectories[e.Name()] != nil {
			return nil
		}
	}
	return &failure{
		err:  fmt.Errorf("%s holds files, and none of the meter's", a.paths.State),
		hint: "let HALTON_METER_HOME name a directory that is new or empty",
	}
}

func ownerOf(path string) (uid int, err error) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("%s has no owner", path)
	}
	return int(sys.Uid), nil
}
