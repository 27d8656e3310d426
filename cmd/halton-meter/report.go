package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/haltonlabs/halton-meter/internal/version"
	"github.com/haltonlabs/halton-meter/meter/ledger"
)

// reportDays is how far back a report goes if nothing is said.
const reportDays = 30

type reportCmd struct {
	Since   string `help:"From this time on: 7d, 12h, or 2026-01-31; the last 30 days if not given." placeholder:"WHEN"`
	By      string `help:"One table only: project, model or provider." enum:"project,model,provider,all" default:"all"`
	Project string `help:"This project only." placeholder:"P"`
	JSON    bool   `help:"Print JSON: costs in 1e-9 USD."`
}

func (reportCmd) Help() string {
	return `Calls whose price is not known are counted as unpriced, with their tokens, and are in no sum of money. A ! marks costs that differ from what the provider itself reported. The daemon need not run.

  halton-meter report --since 7d --by model
  halton-meter report --since 2026-11-01 --project billing --json`
}

func (c reportCmd) Run(ctx context.Context, a *app) error {
	now := a.now()
	q, err := query(c.Since, c.Project, now.AddDate(0, 0, -reportDays), now)
	if err != nil {
		return err
	}
	r, err := a.reader(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	groups := []ledger.By{ledger.ByProject, ledger.ByModel}
	if c.By != "all" {
		groups = []ledger.By{ledger.By(c.By)}
	}
	tables := map[ledger.By][]ledger.Total{}
	for _, by := range groups {
		if tables[by], err = r.Totals(ctx, q, by); err != nil {
			return err
		}
	}
	if c.JSON {
		return printReportJSON(os.Stdout, q.Since, now, groups, tables)
	}
	return printReport(os.Stdout, q.Since, now, groups, tables)
}

func printReport(w io.Writer, since, now time.Time, groups []ledger.By, tables map[ledger.By][]ledger.Total) error {
	fmt.Fprintf(w, "halton-meter v%s · cost report · %s → %s\n\n", version.Version,
		since.Local().Format(time.DateOnly), now.Local().Format(time.DateOnly))
	all := sum(tables[groups[0]])
	if all.Requests == 0 {
		fmt.Fprintln(w, "no calls were metered in this time")
		return nil
	}
	fmt.Fprintf(w, "requests    %s\n", grouped(all.Requests))
	fmt.Fprintf(w, "tokens      %s in · %s out\n", grouped(allInput(all)), grouped(all.OutputTokens))
	fmt.Fprintf(w, "total cost  %s\n", dollars(all.CostNanoUSD))
	if all.Unpriced > 0 {
		fmt.Fprintf(w, "unpriced    %s requests have no known cost and are not in the total\n", grouped(all.Unpriced))
	}
	if all.Reported > 0 {
		fmt.Fprintf(w, "            for %s of them the provider says %s\n", grouped(all.Reported), dollars(all.ReportedNanoUSD))
	}
	if all.Disputed > 0 {
		fmt.Fprintf(w, "! differs   %s requests cost %s than the price book says, by the provider's own count (halton-meter pricing explain ROW-ID)\n",
			grouped(all.Disputed), more(all.DisputeNanoUSD))
	}
	for _, by := range groups {
		fmt.Fprintln(w)
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintf(tw, "%s\trequests\tin\tcached\tout\tunpriced\tcost\t\n", by)
		for _, t := range tables[by] {
			key := t.Key
			if key == "" {
				key = "(none)"
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", key, grouped(t.Requests),
				grouped(allInput(t)), grouped(t.CacheReadTokens), grouped(t.OutputTokens), grouped(t.Unpriced), cost(t)+mark(t))
		}
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// cost is what a group cost. One of which no cost is known is not free.
func cost(t ledger.Total) string {
	if t.Unpriced > 0 && t.CostNanoUSD == 0 {
		return "unknown"
	}
	return dollars(t.CostNanoUSD)
}

// mark is put behind the cost of a group that providers say cost otherwise.
func mark(t ledger.Total) string {
	if t.Disputed > 0 {
		return " !"
	}
	return ""
}

// more writes a difference: "$1.00 more".
func more(nano int64) string {
	if nano < 0 {
		return dollars(-nano) + " less"
	}
	return dollars(nano) + " more"
}

// reportRow is one group of report --json.
type reportRow struct {
	Key              string `json:"key"`
	Provider         string `json:"provider,omitempty"`
	Requests         int64  `json:"requests"`
	Failed           int64  `json:"failed"`
	Unpriced         int64  `json:"unpriced"`
	Incomplete       int64  `json:"incomplete"`
	InputTokens      int64  `json:"input_tokens"`
	OutputTokens     int64  `json:"output_tokens"`
	ThinkingTokens   int64  `json:"thinking_tokens"`
	CacheReadTokens  int64  `json:"cache_read_tokens"`
	CacheWriteTokens int64  `json:"cache_write_tokens"`
	CostNanoUSD      int64  `json:"cost_nano_usd"`
	// Disputed counts those whose provider says another cost, and by how much
	// more; Reported those without a known cost, and what their provider says.
	Disputed        int64 `json:"disputed"`
	DisputeNanoUSD  int64 `json:"dispute_nano_usd"`
	Reported        int64 `json:"reported"`
	ReportedNanoUSD int64 `json:"reported_nano_usd"`
}

func printReportJSON(w io.Writer, since, now time.Time, groups []ledger.By, tables map[ledger.By][]ledger.Total) error {
	out := map[string]any{"since": since.UTC(), "until": now.UTC()}
	for _, by := range groups {
		rows := []reportRow{}
		for _, t := range tables[by] {
			rows = append(rows, reportRow{
				Key: t.Key, Provider: t.Provider, Requests: t.Requests, Failed: t.Failed,
				Unpriced: t.Unpriced, Incomplete: t.Incomplete,
				InputTokens: t.InputTokens, OutputTokens: t.OutputTokens, ThinkingTokens: t.ThinkingTokens,
				CacheReadTokens: t.CacheReadTokens, CacheWriteTokens: t.CacheWriteTokens, CostNanoUSD: t.CostNanoUSD,
				Disputed: t.Disputed, DisputeNanoUSD: t.DisputeNanoUSD, Reported: t.Reported, ReportedNanoUSD: t.ReportedNanoUSD,
			})
		}
		out["by_"+string(by)] = rows
	}
	return printJSON(w, out)
}

func sum(totals []ledger.Total) ledger.Total {
	var all ledger.Total
	for _, t := range totals {
		all.Requests += t.Requests
		all.Unpriced += t.Unpriced
		all.InputTokens += t.InputTokens
		all.OutputTokens += t.OutputTokens
		all.CacheReadTokens += t.CacheReadTokens
		all.CacheWriteTokens += t.CacheWriteTokens
		all.CostNanoUSD += t.CostNanoUSD
		all.Disputed += t.Disputed
		all.DisputeNanoUSD += t.DisputeNanoUSD
		all.Reported += t.Reported
		all.ReportedNanoUSD += t.ReportedNanoUSD
	}
	return all
}

// allInput is the whole prompt, as people think of "in".
func allInput(t ledger.Total) int64 { return t.InputTokens + t.CacheReadTokens + t.CacheWriteTokens }

// dollars writes nano-USD: 2 decimals from a dollar on, else 6, as much as a
// single call needs to be told from nothing.
func dollars(nano int64) string {
	decimals, unit := 6, int64(1_000)
	if nano >= 1_000_000_000 {
		decimals, unit = 2, 10_000_000
	}
	rounded := (nano + unit/2) / unit
	scale := int64(1)
	for range decimals {
		scale *= 10
	}
	return fmt.Sprintf("$%s.%0*d", grouped(rounded/scale), decimals, rounded%scale)
}

// grouped writes n with commas between thousands.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i, digit := range s {
		if i > 0 && (len(s)-i)%3 == 0 && s[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(digit)
	}
	return b.String()
}
