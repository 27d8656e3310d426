package shellenv

import (
	"os"
	"path/filepath"
)

// Shells are the shells that a user may have, and what their start-up files
// are to run.
type Shells struct {
	Home string
	// Shell is the user's own, a path, as in $SHELL.
	Shell string
	// Program is the halton-meter that the line runs.
	Program string
	// State is its state directory, "" for the default one.
	State string
	// Login: terminals start login shells, as macOS's do.
	Login  bool
	Getenv func(string) string
}

// Files are the start-up files: each that is there, and the one of the user's
// own shell even if it is not.
func (s Shells) Files() []RCFile {
	zdot := s.Getenv("ZDOTDIR")
	if zdot == "" {
		zdot = s.Home
	}
	confDir := s.Getenv("XDG_CONFIG_HOME")
	if confDir == "" {
		confDir = filepath.Join(s.Home, ".config")
	}
	fishDir := filepath.Join(confDir, "fish")
	var files []RCFile
	add := func(name, path string) {
		if there(path) || name != "" && filepath.Base(s.Shell) == name {
			files = append(files, s.File(path))
		}
	}
	add("zsh", filepath.Join(zdot, ".zshrc"))
	add("bash", filepath.Join(s.Home, ".bashrc"))
	if login := s.loginBash(); login != "" {
		files = append(files, s.File(login))
	}
	if there(fishDir) || filepath.Base(s.Shell) == "fish" {
		files = append(files, s.File(filepath.Join(fishDir, "conf.d", "halton-meter.fish")))
	}
	return files
}

// loginBash is what a login bash reads in place of .bashrc: the first of three
// that is there (bash(1), INVOCATION). Where a desktop session reads .profile
// as well, it stays as it is: a session outlives the edge's answer.
func (s Shells) loginBash() string {
	profile := filepath.Join(s.Home, ".bash_profile")
	if there(profile) {
		return profile
	}
	if !s.Login {
		return ""
	}
	for _, name := range []string{".bash_login", ".profile"} {
		if path := filepath.Join(s.Home, name); there(path) {
			return path
		}
	}
	if filepath.Base(s.Shell) == "bash" {
		return profile
	}
	return ""
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// File is the start-up file at path, in the language that its name tells. No
// line of it ends with another status than 0, which would end a shell that
// runs with set -e.
func (s Shells) File(path string) RCFile {
	program, state := Quote(s.Program), ""
	if s.State != "" {
		state = "HALTON_METER_HOME=" + Quote(s.State) + " "
	}
	if filepath.Ext(path) != ".fish" {
		return RCFile{Path: path, Line: "if [ -x " + program + " ]; then eval \"$(" + state + program + " env 2>/dev/null)\"; fi"}
	}
	if state != "" {
		state = "env " + state
	}
	return RCFile{
		Path: path, Owned: true,
		Line: "if test -x " + program + "; " + state + program + " env --shell fish 2>/dev/null | source; end",
	}
}
