package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/term"
	"github.com/haltonlabs/halton-meter/internal/atomicfile"
)

// rollback undoes one run of init.
type rollback struct {
	*app
	setup
	// before is the mode that was installed, "" for none.
	before string
	// empty: the state directory held nothing.
	empty bool
}

// prepare looks at what there is, and keeps the program that works until the
// new one has proved that it does.
func (r *rollback) prepare() error {
	entries, err := os.ReadDir(r.paths.State)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r.empty = len(entries) == 0
	r.done()
	if !r.clean {
		return nil
	}
	err = os.Link(r.paths.Program(), r.kept())
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	// Not every file system has hard links.
	if err := atomicfile.Copy(r.kept(), r.paths.Program(), 0o755); err != nil {
		return fmt.Errorf("keep the program: %w", err)
	}
	return nil
}

func (r *rollback) kept() string { return r.paths.Program() + ".before" }

// done drops what was kept. That there is none is how it shall be.
func (r *rollback) done() { _ = os.Remove(r.kept()) }

// own is after a failure among our own files. An installation that was there
// goes on as it is; of a new one nothing stays if that was asked for.
func (r *rollback) own(ctx context.Context, failed error) error {
	if r.clean && r.before == "" && ctx.Err() == nil {
		return r.all(ctx, failed)
	}
	return failed
}

// outer is after a step outside of our own files that failed, or that the user
// declined: a mode is installed as a whole or not at all. On the way to a lesser
// mode nothing is put back, since that was to go; the next init goes on.
func (r *rollback) outer(ctx context.Context, in *agents.Installer, failed error) error {
	order := []string{"", agents.ModeEnvOnly, agents.ModeApps, agents.ModeFull}
	if ctx.Err() != nil || slices.Index(order, r.mode) <= slices.Index(order, r.before) {
		return failed
	}
	if r.clean && r.before == "" {
		return r.all(ctx, failed)
	}
	if r.before == "" {
		r.before = agents.ModeEnvOnly
	}
	err := r.returnTo(ctx)
	if in.UpstreamChanged {
		// The system proxy is the user's again, and programs follow that one.
		err = errors.Join(err, removeAll(r.paths.Upstream()))
	}
	return told(failed, "the mode is "+r.before, err)
}

// returnTo takes back what the new mode did outside of our own files and the one
// before does not want.
func (r *rollback) returnTo(ctx context.Context) error {
	in, err := r.installer()
	if err != nil {
		return err
	}
	in.Mode, in.NoShellRC = r.before, r.noShellRC
	_, err = in.WriteMode(ctx)
	if r.mode == agents.ModeFull && r.before != agents.ModeFull {
		err = errors.Join(err, agents.ReturnSystemProxy(ctx, r.paths, r.tools), agents.UntrustRoots(ctx, r.paths, r.tools))
	}
	for _, step := range in.OuterSteps() {
		_, stepErr := step.Do(ctx)
		err = errors.Join(err, stepErr)
	}
	return err
}

// all puts everything back: the mode and the program of before, or nothing.
func (r *rollback) all(ctx context.Context, failed error) error {
	if r.before != "" {
		return told(failed, "rolled back to mode "+r.before, errors.Join(r.returnProgram(ctx), r.returnTo(ctx)))
	}
	steps := term.NewSteps(os.Stdout, len("watchdog unloaded"))
	defer steps.Close()
	err := r.returnMachine(ctx, steps)
	err = errors.Join(err, r.unloadAll(ctx, steps, false), removeAll(append(r.plists(), r.paths.InstallMode())...))
	if runtime.GOOS != "darwin" {
		// Only macOS has these folders anyway. One that is not empty stays.
		launchAgents := filepath.Dir(r.paths.Plist(agents.Daemon))
		_ = os.Remove(launchAgents)
		_ = os.Remove(filepath.Dir(launchAgents))
	}
	if r.empty && err == nil {
		err = os.RemoveAll(r.paths.State)
	}
	return told(failed, "rolled back, nothing is installed", err)
}

// returnProgram puts the program of before back, and renews the jobs with it.
func (r *rollback) returnProgram(ctx context.Context) error {
	kept, err := os.Stat(r.kept())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if now, err := os.Stat(r.paths.Program()); err == nil && os.SameFile(kept, now) {
		return nil
	}
	if err := agents.MarkOutdated(r.paths, agents.Daemon, agents.Watchdog); err != nil {
		return err
	}
	if err := os.Rename(r.kept(), r.paths.Program()); err != nil {
		return err
	}
	in, err := r.installer()
	if err != nil {
		return err
	}
	_, err = in.BringUpEdge(ctx)
	_, daemonErr := r.renewDaemon(ctx)
	return errors.Join(err, daemonErr)
}

// told says what became of a failed set-up, and keeps the hint of why it failed.
func told(failed error, became string, err error) error {
	f := &failure{err: fmt.Errorf("%w: %s", failed, became), hint: "halton-meter doctor"}
	if why := (*failure)(nil); errors.As(failed, &why) {
		f.hint = why.hint
	}
	f.err = errors.Join(f.err, err)
	return f
}
