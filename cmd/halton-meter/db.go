package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/term"
	"github.com/haltonlabs/halton-meter/internal/filelock"
	"github.com/haltonlabs/halton-meter/meter/ledger"
)

type dbCmd struct {
	Check   dbCheckCmd   `cmd:"" help:"Tell what the ledger holds, and whether it is in order."`
	Backup  dbBackupCmd  `cmd:"" help:"Copy the ledger into a file."`
	Recover dbRecoverCmd `cmd:"" help:"Bring the rows of a corrupt database back."`
}

type dbCheckCmd struct {
	Full bool `help:"Check each index against its table too: slower."`
	JSON bool `help:"Print JSON."`
}

func (dbCheckCmd) Help() string {
	return "Exit codes: 0 in order; 1 the database is corrupt or cannot be read. It changes nothing, and the daemon may run."
}

func (c dbCheckCmd) Run(ctx context.Context, a *app) error {
	rep, err := ledger.Check(ctx, a.paths.State, c.Full)
	if err != nil {
		return err
	}
	if c.JSON {
		if err := printJSON(os.Stdout, rep); err != nil {
			return err
		}
	} else {
		printCheck(os.Stdout, rep, term.StylesFor(os.Stdout))
	}
	if rep.Err == nil {
		return nil
	}
	return &failure{err: rep.Err, hint: dbHint(rep.Err), silent: c.JSON}
}

// dbHint is what to type after err.
func dbHint(err error) string {
	switch {
	case errors.Is(err, ledger.ErrNewerSchema), errors.Is(err, ledger.ErrForeign):
		return "" // they say it themselves
	case errors.Is(err, ledger.ErrOlderSchema):
		return "halton-meter init && halton-meter stop && halton-meter start"
	case errors.Is(err, filelock.ErrHeld):
		return "another recovery is at work; halton-meter db check tells when it is done"
	}
	return "halton-meter stop && halton-meter db recover && halton-meter start"
}

func printCheck(w io.Writer, rep ledger.Report, styles term.Styles) {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-9s  %s\n", name, fmt.Sprintf(format, args...))
	}
	switch {
	case rep.Schema > 0:
		row("database", "%s · %s · schema %d of %d · SQLite %s", rep.Path, size(rep.Bytes), rep.Schema, rep.Known, rep.SQLite)
	case rep.Bytes > 0:
		row("database", "%s · %s", rep.Path, size(rep.Bytes))
	default:
		row("database", "none at %s", rep.Path)
	}
	if rep.Oldest != nil && rep.Newest != nil {
		row("rows", "%s · %s → %s", grouped(rep.Rows),
			rep.Oldest.Local().Format(time.DateTime), rep.Newest.Local().Format(time.DateTime))
	} else {
		row("rows", "%s", grouped(rep.Rows))
	}
	row("journal", "%d segments · %s · %s rows not in the database yet · %d open exchanges",
		rep.Segments, size(rep.JournalBytes), grouped(rep.Pending), rep.Open)
	if rep.Damaged > 0 {
		row("", "%s", styles.Bad(fmt.Sprintf("%d stretches cannot be read", rep.Damaged)))
	}
	if rep.ReserveBytes > 0 {
		row("reserve", "%s for a full disk", size(rep.ReserveBytes))
	} else {
		row("reserve", "none: the disk is or was full, or no daemon ran yet")
	}
	row("daemon", "%s", map[bool]string{true: "has the ledger open", false: "does not have the ledger open"}[rep.InUse])
	for _, s := range rep.SetAside {
		what := styles.Bad("not recovered: halton-meter db recover")
		if r := s.Recovery; r != nil {
			what = recoveryText(*r) + ", at " + r.EndedAt.Local().Format(time.DateTime)
		}
		row("set aside", "%s · %s · %s", filepath.Base(s.Path), size(s.Bytes), what)
	}
	if rep.Test != "" && rep.Err == nil {
		row("check", "%s", styles.Good(rep.Test+": ok"))
	} else if rep.Err != nil {
		row("check", "%s", styles.Bad("failed"))
	}
}

func recoveryText(r ledger.Recovery) string {
	return fmt.Sprintf("%s of %s rows recovered, %s of them new", grouped(r.Found), grouped(r.Expected), grouped(r.Added))
}

// size writes a number of bytes as people read it.
func size(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	f, i := float64(n), 0
	for f >= 1000 && i < len(units)-1 {
		f, i = f/1000, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

type dbBackupCmd struct {
	Path  string `arg:"" help:"The file to write."`
	Force bool   `help:"Replace the file if it is there."`
}

func (dbBackupCmd) Help() string {
	return "The copy is one SQLite database with every row, also those that the daemon has not stored yet. The daemon may run. To go back to it, stop the daemon and put the file in the place of db.sqlite, without db.sqlite-wal and db.sqlite-shm beside it."
}

func (c dbBackupCmd) Run(ctx context.Context, a *app) error {
	if err := ledger.Backup(ctx, a.paths.State, c.Path, c.Force); err != nil {
		switch {
		case errors.Is(err, fs.ErrExist):
			return &failure{err: err, hint: "add --force to replace it, or name another file"}
		case errors.Is(err, fs.ErrNotExist):
			return &failure{err: err, hint: "make the directory first: mkdir -p " + filepath.Dir(c.Path)}
		}
		return &failure{err: err, hint: "halton-meter db check"}
	}
	st, err := os.Stat(c.Path)
	if err != nil {
		return err
	}
	fmt.Printf("backed up to %s · %s\n", c.Path, size(st.Size()))
	return nil
}

type dbRecoverCmd struct {
	Files []string `arg:"" optional:"" type:"existingfile" help:"Databases to read; those that were set aside if none is named."`
}

func (dbRecoverCmd) Help() string {
	return "A corrupt database is set aside under the name db.sqlite.corrupt-TIME, and this brings what can be read of it into the present one. Rows that are there already stay as they are, so it can be repeated; no file is deleted. The daemon may run, unless db.sqlite itself is corrupt."
}

func (c dbRecoverCmd) Run(ctx context.Context, a *app) error {
	if _, err := os.Stat(a.paths.State); err != nil {
		return &failure{err: fmt.Errorf("there is no ledger: %w", err), hint: "halton-meter start makes one"}
	}
	unlock, err := a.exclusive(ctx, lockBudget)
	if err != nil {
		return err
	}
	defer unlock()
	done, err := ledger.Recover(ctx, a.paths.State, c.Files...)
	for _, r := range done {
		fmt.Printf("%s: %s\n", filepath.Base(r.File), recoveryText(r))
	}
	if err != nil {
		return &failure{err: err, hint: dbHint(err)}
	}
	if len(done) == 0 {
		fmt.Println("nothing to recover: no database was set aside, and this one is in order")
	}
	return nil
}
