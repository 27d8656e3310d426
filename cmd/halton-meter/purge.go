package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// What the meter makes in its state directory: these names, with what is added
// to them for a temporary file (".name.…"), for one that was rotated or put
// aside ("name.…"), or by SQLite ("name-…"). HALTON_METER_HOME may name a
// directory that holds more, and that is not ours to delete.
var (
	ownNames = []string{
		"config.toml", "effective-ports.json", "install-mode", "proxy-managed", "apps-managed", "graceful-shutdown",
		"system_state.json", "upstream.json", "shell-files.json", "outdated-jobs.json", "learned.json", "bootstrap-postmortem.jsonl",
		"api-token", "edge-key", "edge.sock", "edge-counters.json", "lock",
		"daemon.out.log", "daemon.err.log", "edge.out.log", "edge.err.log",
		"watchdog.out.log", "watchdog.err.log", "userenv.out.log", "userenv.err.log",
		"launchd.lock", "launchd.sock", "launchd.log", "launchd-state.json", "launchd-disabled.json", ".doctor",
	}
	ledgerNames = []string{"db.sqlite", "recovery.tmp"}
	// ownDirectories are what the meter makes in its own directories.
	ownDirectories = map[string][]string{
		"bin": {"halton-meter"},
		"ca":  {"ca", "ca.pem", "ca-key.pem", "bundle.pem", "adopted.pem", "replaced", ".new"},
	}
	ledgerDirectories = map[string][]string{"journal": {"lock", "recovery.lock", "reserve", "*.j1"}}
)

// isOneOf reports whether name is one of names or made from one.
func isOneOf(names []string, name string) bool {
	return slices.ContainsFunc(names, func(own string) bool {
		if matched, err := filepath.Match(own, name); err == nil && matched {
			return true
		}
		rest, found := strings.CutPrefix(name, own)
		if !found {
			rest, found = strings.CutPrefix(name, "."+own)
		}
		return found && (rest == "" || rest[0] == '.' || rest[0] == '-')
	})
}

// purge deletes the state directory but the ledger, or all of it. It returns
// the names that stay since they are not ours.
func (c uninstallCmd) purge(a *app) (left []string, err error) {
	if err := removeAll(a.paths.Uninstalled()); err != nil {
		return nil, err
	}
	// A user may keep it on another disk.
	dir, err := filepath.EvalSymlinks(a.paths.State)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, path := e.Name(), filepath.Join(dir, e.Name())
		ofLedger := isOneOf(ledgerNames, name) || ledgerDirectories[name] != nil
		switch own := ownDirectories[name]; {
		case ofLedger && !c.IncludeLogs:
			continue
		case e.IsDir() && own != nil, e.IsDir() && ledgerDirectories[name] != nil:
			err = empty(path, slices.Concat(own, ledgerDirectories[name]))
		case isOneOf(ownNames, name), ofLedger, ownDirectories[strings.SplitN(name, ".old-", 2)[0]] != nil:
			err = os.RemoveAll(path)
		default:
			left = append(left, name)
		}
		if err != nil {
			return nil, err
		}
	}
	if removeEmpty(dir) && dir != a.paths.State {
		err = os.Remove(a.paths.State)
	}
	return left, err
}

// empty deletes what is ours in a directory, and the directory if that was all.
func empty(dir string, names []string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if isOneOf(names, e.Name()) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	removeEmpty(dir)
	return nil
}

func removeEmpty(dir string) bool {
	err := os.Remove(dir)
	return err == nil || errors.Is(err, fs.ErrNotExist)
}
