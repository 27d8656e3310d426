package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/term"
	"github.com/haltonlabs/halton-meter/meter"
	"github.com/haltonlabs/halton-meter/meter/ledger"
	"github.com/haltonlabs/halton-meter/meter/pricing"
)

type pricingExplainCmd struct {
	Row  string `arg:"" name:"row-id" help:"A row's id, as export prints it."`
	JSON bool   `help:"Print JSON: costs in 1e-9 USD."`
}

func (pricingExplainCmd) Help() string {
	return "Each line is tokens (or calls) times the price at the time of the call; the sum is rounded once, to 1e-9 USD. A ! marks a cost that differs from what is stored, or from what the provider itself reported."
}

func (c pricingExplainCmd) Run(ctx context.Context, a *app) error {
	book, err := a.book()
	if err != nil {
		return err
	}
	r, err := a.reader(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	row, err := r.Row(ctx, c.Row)
	if err != nil {
		return err
	}
	if row == nil {
		return &failure{err: fmt.Errorf("no row has the id %q", c.Row), hint: "halton-meter export lists the rows with their ids"}
	}
	bill := meter.Bill(book, *row)
	if c.JSON {
		return printJSON(os.Stdout, explained(*row, bill))
	}
	return printBill(os.Stdout, *row, bill)
}

func printBill(w io.Writer, row ledger.Row, bill pricing.Bill) error {
	fmt.Fprintf(w, "row       %s, %s, project %s\n", row.ID, row.RequestedAt.UTC().Format(time.RFC3339), row.Project)
	fmt.Fprintf(w, "call      %s %s, %s%s, mode %s, tier %s, %s\n", row.Provider, either(row.Model, "(no model)"), row.Host, row.Path,
		row.Mode, either(row.Tier, "standard"), row.Status)
	if !row.TokensComplete {
		fmt.Fprintln(w, "! the counts of this row may lack something")
	}
	for _, part := range bill.Parts {
		fmt.Fprintf(w, "\n%s, as %s of %s (%s%s)\n", part.Model, part.Entry, either(part.Provider, "any provider"), part.Source, comma(part.When))
		fmt.Fprintf(w, "prompt    %s tokens\n", grouped(part.Prompt))
		tw := tabwriter.NewWriter(w, 0, 0, 1, ' ', tabwriter.AlignRight)
		for _, l := range part.Lines {
			fmt.Fprintf(tw, "  %s\t%s\t×\t$%s\t%s%s\t=\t%s\tnano-USD\t%s\n", l.What, grouped(l.Count), l.USD, unit(l.Per), times(l.Factor), l.NanoUSD, long(l.Above))
		}
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	fmt.Fprintln(w)
	if bill.Known {
		fmt.Fprintf(w, "total     %s nano-USD, %s\n", grouped(bill.NanoUSD), dollars(bill.NanoUSD))
	} else {
		fmt.Fprintf(w, "total     not known: %s\n", bill.Reason)
	}
	printStored(w, row, bill)
	if reported := row.ReportedCostNanoUSD; reported != nil {
		fmt.Fprintf(w, "reported  %s nano-USD, %s, by the provider itself\n", grouped(*reported), dollars(*reported))
		if row.CostNanoUSD != nil && differs(*row.CostNanoUSD, *reported) {
			fmt.Fprintf(w, "! the stored cost differs from it by %s nano-USD\n", signed(*row.CostNanoUSD-*reported))
		}
	}
	return nil
}

// printStored says what the ledger holds, and why it may be another number.
func printStored(w io.Writer, row ledger.Row, bill pricing.Bill) {
	switch {
	case row.CostNanoUSD == nil && bill.Known:
		fmt.Fprintf(w, "stored    not known: %s\n! halton-meter pricing backfill stores it\n", deref(row.CostReason))
	case row.CostNanoUSD == nil:
		fmt.Fprintf(w, "stored    not known: %s\n", deref(row.CostReason))
	default:
		fmt.Fprintf(w, "stored    %s nano-USD, %s (%s)\n", grouped(*row.CostNanoUSD), dollars(*row.CostNanoUSD), deref(row.RatesSource))
		if !bill.Known || bill.NanoUSD != *row.CostNanoUSD {
			fmt.Fprintf(w, "! the stored cost was made with the prices of %s, the above are those of %s\n", deref(row.RatesSource), bill.Source)
		}
	}
}

// differs reports whether two costs are not the same one, rounded twice.
func differs(a, b int64) bool { return a-b > 1 || b-a > 1 }

func signed(n int64) string {
	if n > 0 {
		return "+" + grouped(n)
	}
	return grouped(n)
}

func comma(text string) string {
	if text == "" {
		return ""
	}
	return ", " + text
}

func unit(per int64) string {
	if per == 1_000 {
		return "/ 1k calls"
	}
	return "/ 1M tokens"
}

func times(factor string) string {
	if factor == "1" {
		return ""
	}
	return " × " + factor
}

func long(above int64) string {
	if above == 0 {
		return ""
	}
	return "(prompt above " + grouped(above) + ")"
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// explanation is explain --json.
type explanation struct {
	ID          string     `json:"id"`
	RequestedAt time.Time  `json:"requested_at"`
	Provider    string     `json:"provider"`
	Model       string     `json:"model"`
	Mode        string     `json:"mode"`
	Tier        string     `json:"tier"`
	Charges     []jsonPart `json:"charges"`

	CostNanoUSD *int64  `json:"cost_nano_usd"` // by the present prices
	CostReason  *string `json:"cost_reason"`
	RatesSource string  `json:"rates_source"`

	StoredCostNanoUSD   *int64  `json:"stored_cost_nano_usd"`
	StoredRatesSource   *string `json:"stored_rates_source"`
	ReportedCostNanoUSD *int64  `json:"reported_cost_nano_usd"`
	// DiffersFromStored and DiffersFromReported mark what is not the same.
	DiffersFromStored   bool `json:"differs_from_stored"`
	DiffersFromReported bool `json:"differs_from_reported"`
}

type jsonPart struct {
	Model        string     `json:"model"`
	Entry        string     `json:"entry"`
	Provider     string     `json:"provider"`
	Source       string     `json:"source"`
	When         string     `json:"when"`
	PromptTokens int64      `json:"prompt_tokens"`
	Lines        []jsonLine `json:"lines"`
}

type jsonLine struct {
	What    string `json:"what"`
	Count   int64  `json:"count"`
	USD     string `json:"usd"`
	Per     int64  `json:"per"`
	Above   int64  `json:"above_prompt_tokens"`
	Factor  string `json:"factor"`
	NanoUSD string `json:"nano_usd"`
}

func explained(row ledger.Row, bill pricing.Bill) explanation {
	e := explanation{
		ID: row.ID, RequestedAt: row.RequestedAt.UTC(), Provider: row.Provider, Model: row.Model, Mode: row.Mode, Tier: row.Tier,
		Charges: []jsonPart{}, RatesSource: bill.Source,
		StoredCostNanoUSD: row.CostNanoUSD, StoredRatesSource: row.RatesSource, ReportedCostNanoUSD: row.ReportedCostNanoUSD,
	}
	for _, p := range bill.Parts {
		part := jsonPart{Model: p.Model, Entry: p.Entry, Provider: p.Provider, Source: p.Source, When: p.When, PromptTokens: p.Prompt, Lines: []jsonLine{}}
		for _, l := range p.Lines {
			part.Lines = append(part.Lines, jsonLine(l))
		}
		e.Charges = append(e.Charges, part)
	}
	if bill.Known {
		e.CostNanoUSD = &bill.NanoUSD
	} else {
		e.CostReason = &bill.Reason
	}
	e.DiffersFromStored = bill.Known != (row.CostNanoUSD != nil) || bill.Known && bill.NanoUSD != *row.CostNanoUSD
	if row.CostNanoUSD != nil && row.ReportedCostNanoUSD != nil {
		e.DiffersFromReported = differs(*row.CostNanoUSD, *row.ReportedCostNanoUSD)
	}
	return e
}

type pricingBackfillCmd struct {
	JSON bool `help:"Print JSON."`
}

func (pricingBackfillCmd) Help() string {
	return "Prices come from the bundled book and from [pricing] in config.toml, as they were at the time of each call. A cost that is known is never changed; it may be repeated, and works beside the daemon."
}

func (c pricingBackfillCmd) Run(ctx context.Context, a *app) error {
	book, err := a.book()
	if err != nil {
		return err
	}
	if err := a.flush(ctx); err != nil {
		term.Warn(os.Stderr, "the latest rows may be left out: %v", err)
	}
	a.tellSetAside()
	priced, err := ledger.Backfill(ctx, a.paths.State, meter.Reprice(book))
	if err != nil {
		return err
	}
	r, err := ledger.OpenReader(ctx, a.paths.State)
	if err != nil {
		return err
	}
	defer r.Close()
	left, err := r.Count(ctx, ledger.Query{Unpriced: true})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(os.Stdout, map[string]int64{"priced": priced, "unpriced": left})
	}
	fmt.Printf("priced    %s rows\nunpriced  %s rows are left\n", grouped(priced), grouped(left))
	return nil
}
