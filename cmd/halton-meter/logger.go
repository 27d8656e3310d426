package main

import (
	"io"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/internal/logfile"
)

// newLogger logs JSON lines with times in UTC.
func newLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			switch {
			case len(groups) > 0:
			case a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime:
				a.Value = slog.TimeValue(a.Value.Time().UTC())
			case a.Key == slog.MessageKey:
				a.Key = "event"
			}
			return a
		},
	}))
}

// edgeLogger writes to the edge's own log, or where that cannot be opened, to
// standard error: nothing about a log may keep the edge from serving.
func edgeLogger(p agents.Paths) *slog.Logger {
	f := logOf(p, agents.Edge)
	if f.Open() != nil {
		return newLogger(os.Stderr)
	}
	return newLogger(f)
}

// jobLogger writes to standard error. If launchd led that into the job's log,
// it writes to the log itself, to keep it small: launchd never rotates one,
// and the file that it opened keeps its descriptor under any name.
func jobLogger(p agents.Paths, label string) *slog.Logger {
	f := logOf(p, label)
	mine, err := os.Stat(f.Path)
	if err != nil {
		return newLogger(os.Stderr)
	}
	if led, err := os.Stderr.Stat(); err != nil || !os.SameFile(led, mine) || f.Open() != nil {
		return newLogger(os.Stderr)
	}
	return newLogger(f)
}

func logOf(p agents.Paths, label string) *logfile.File {
	return &logfile.File{
		Path: p.Log(label, "err"),
		// What the runtime says of a crash belongs there too.
		Opened: func(f *os.File) { _ = debug.SetCrashOutput(f, debug.CrashOptions{}) },
	}
}
