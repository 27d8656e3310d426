package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/term"
	"github.com/haltonlabs/halton-meter/internal/version"
)

type statusCmd struct {
	JSON bool `help:"Print JSON."`
}

func (statusCmd) Help() string {
	return `Exit codes: 0 healthy; 3 not set up, or the daemon's job not loaded; 4 loaded and not healthy.

--json prints one object; names stay, and new ones may come. Times are RFC 3339.

  version        of this program
  install_mode   env-only, apps or full; "" if nothing is set up
  healthy        true if calls are metered now
  exit_code      as above
  supervisor     launchd, emulator or systemd
  components     a list of name, state, detail, and for jobs label and pid: install mode,
                 supervisor, daemon, watchdog, edge, userenv, internal listener,
                 api listener, system proxy, sentinels
  ports          edge, internal, api; 0 if not known
  metering       on; since, or null if nobody knows; reason if it is off
  warnings       what is amiss while metering is on; absent if nothing is
  traffic        since, metered, passthrough, lost (of passthrough: calls that should have
                 been metered), failed, aborted, open, bytes_up, bytes_down; reasons, a
                 count of passthrough for each; hosts, the same for each metered host; what
                 the edge saw last: metering, and off_since, off_reason, off_detail while
                 that is false; null if no edge ever ran
  last_row       the latest row, as export prints it, or null
  hint           what to type, if it is not healthy`
}

func (c statusCmd) Run(ctx context.Context, a *app) error {
	rep := a.survey(ctx)
	if c.JSON {
		if err := printJSON(os.Stdout, rep); err != nil {
			return err
		}
	} else {
		rep.print(os.Stdout)
	}
	if rep.ExitCode != 0 {
		return &failure{err: fmt.Errorf("not healthy"), code: rep.ExitCode, silent: true}
	}
	return nil
}

func (r statusReport) print(out *os.File) {
	styles := term.StylesFor(out)
	fmt.Fprintf(out, "halton-meter v%s · status\n\n", version.Version)
	var width, stateWidth int
	for _, c := range r.Components {
		width, stateWidth = max(width, len(c.Name)), max(stateWidth, len(c.State))
	}
	for _, c := range r.Components {
		state := fmt.Sprintf("%-*s", stateWidth, c.State)
		switch {
		case c.bad:
			state = styles.Bad(state)
		case c.good:
			state = styles.Good(state)
		}
		fmt.Fprintln(out, strings.TrimRight(fmt.Sprintf("%-*s  %s  %s", width, c.Name, state, c.Detail), " "))
	}
	fmt.Fprintf(out, "\n%s\n", r.Metering.sentence(styles))
	for _, w := range r.Warnings {
		fmt.Fprintln(out, styles.Bad("warning: ")+w)
	}
	if t := r.Traffic; t != nil {
		fmt.Fprintf(out, "traffic: %d metered, %d lost (passed unmetered), %d passed to other hosts, %d failed\n",
			t.Metered, t.Lost, t.Passthrough-t.Lost, t.Failed)
		if len(t.Reasons) > 0 {
			var parts []string
			for reason, n := range t.Reasons {
				parts = append(parts, fmt.Sprintf("%s %d", reason, n))
			}
			slices.Sort(parts)
			fmt.Fprintf(out, "unmetered by reason: %s\n", strings.Join(parts, ", "))
		}
	}
	if row := r.LastRow; row != nil {
		fmt.Fprintf(out, "last row: %s  %s  %s  %s\n", row.RequestedAt.Local().Format(time.DateTime), row.Project, row.Model, row.Status)
	}
	if r.Hint != "" {
		fmt.Fprintln(out, "hint: "+r.Hint)
	}
}

func (m metering) sentence(styles term.Styles) string {
	since := ""
	if m.Since != nil {
		since = " since " + m.Since.Local().Format(time.DateTime)
	}
	if m.On {
		return styles.Good("metering on" + since)
	}
	return styles.Bad("metering off"+since) + ": " + m.Reason
}
