package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/term"
	"github.com/haltonlabs/halton-meter/meter/ledger"
)

type exportCmd struct {
	Format  string `help:"The format: jsonl, one JSON object a row." enum:"jsonl" default:"jsonl"`
	Since   string `help:"Rows from this time on: 7d, 12h, or 2026-01-31." placeholder:"WHEN"`
	Project string `help:"Rows of this project only." placeholder:"P"`
}

func (exportCmd) Help() string {
	return `Rows come oldest first. Tokens and costs that are not known are null, never 0; cost_nano_usd is in 1e-9 USD. The daemon need not run.

  halton-meter export --since 24h | jq -s 'map(.cost_nano_usd) | add / 1e9'`
}

func (c exportCmd) Run(ctx context.Context, a *app) error {
	q, err := query(c.Since, c.Project, time.Time{}, a.now())
	if err != nil {
		return err
	}
	r, err := a.reader(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	out := bufio.NewWriter(os.Stdout)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for row, err := range r.Rows(ctx, q) {
		if err != nil {
			return err
		}
		if err := enc.Encode(row); err != nil {
			return err
		}
	}
	return out.Flush()
}

// reader opens the ledger after what has ended is stored.
func (a *app) reader(ctx context.Context) (*ledger.Reader, error) {
	if err := a.flush(ctx); err != nil {
		term.Warn(os.Stderr, "the latest rows may be missing: %v", err)
	}
	a.tellSetAside()
	return ledger.OpenReader(ctx, a.paths.State)
}
