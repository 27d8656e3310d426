package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/term"
	"github.com/haltonlabs/halton-meter/meter/attribution"
	"github.com/haltonlabs/halton-meter/meter/ledger"
)

// query is what --since and --project ask for; without --since it begins at
// the time since.
func query(from, project string, since, now time.Time) (ledger.Query, error) {
	q := ledger.Query{Since: since}
	if from != "" {
		t, err := parseSince(from, now)
		if err != nil {
			return q, &failure{err: err, hint: "--since 7d, --since 12h or --since 2026-01-31", code: exitUsage}
		}
		q.Since = t
	}
	if project != "" {
		slug, err := attribution.Slug(project)
		if err != nil {
			return q, &failure{err: err, code: exitUsage}
		}
		q.Project = slug
	}
	return q, nil
}

// parseSince takes a number of days (7, 7d), a duration (12h, 5m) or a date,
// which begins at midnight of this machine's zone.
func parseSince(s string, now time.Time) (time.Time, error) {
	if days, err := strconv.Atoi(strings.TrimSuffix(s, "d")); err == nil && days >= 0 {
		return now.AddDate(0, 0, -days), nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, s, now.Location()); err == nil {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("--since %q is neither days, a duration nor a date", s)
}

// tellSetAside says that rows may be missing.
func (a *app) tellSetAside() {
	// Glob fails only for a bad pattern.
	files, _ := filepath.Glob(a.paths.In("db.sqlite.corrupt-*Z"))
	for _, f := range files {
		term.Warn(os.Stderr, "a corrupt ledger was set aside, and rows of it may be missing: %s (halton-meter db check)", f)
	}
}
