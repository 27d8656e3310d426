package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/haltonlabs/halton-meter/meter/pricing"
)

type pricingCmd struct {
	List     pricingListCmd     `cmd:"" help:"List the models whose prices are known, with the present prices."`
	Show     pricingShowCmd     `cmd:"" help:"Show a model's prices, now and before, and how its name is understood."`
	Explain  pricingExplainCmd  `cmd:"" help:"Show how the cost of a row came about."`
	Backfill pricingBackfillCmd `cmd:"" help:"Price the rows whose price was not known when they were made."`
}

// book is the price book with the prices of the configuration.
func (a *app) book() (*pricing.Book, error) {
	conf, err := a.config()
	if err != nil {
		return nil, err
	}
	return conf.Book()
}

type pricingListCmd struct {
	Models   string `arg:"" optional:"" help:"Only models whose name fits: * stands for any text." placeholder:"PATTERN"`
	Provider string `help:"This provider only." placeholder:"P"`
	JSON     bool   `help:"Print JSON."`
}

func (pricingListCmd) Help() string {
	return "Prices are US dollars per million tokens; a + says that long prompts cost more (see pricing show). The first lines are those of [pricing] in config.toml."
}

func (c pricingListCmd) Run(a *app) error {
	book, err := a.book()
	if err != nil {
		return err
	}
	entries := slices.DeleteFunc(book.Entries(), func(e pricing.Entry) bool {
		return c.Provider != "" && e.Provider != "" && !strings.EqualFold(e.Provider, c.Provider) || !fits(c.Models, e.Name)
	})
	if len(entries) == 0 {
		return &failure{err: fmt.Errorf("no such model is in the price book"), hint: "providers: " + strings.Join(book.Providers(), ", ")}
	}
	now := a.now()
	if c.JSON {
		return printJSON(os.Stdout, jsonEntries(entries, now))
	}
	return printEntries(os.Stdout, entries, now)
}

// fits reports whether a name fits a pattern, in which "*" stands for any text.
func fits(pattern, name string) bool {
	if pattern == "" {
		return true
	}
	expr := "(?i)^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$"
	return regexp.MustCompile(expr).MatchString(name)
}

func printEntries(w io.Writer, entries []pricing.Entry, now time.Time) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "provider\tmodel\tinput\toutput\tcache read\tcache write\t1h write\tsince\tsource")
	for _, e := range entries {
		p := e.At(now)
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", either(e.Provider, "(any)"), e.Name,
			cell(p, "input"), cell(p, "output"), cell(p, "cache_read"), cell(p, "cache_write"), cell(p, "cache_write_1h"),
			either(strings.TrimPrefix(p.When, "since "), "-"), e.Source)
	}
	return tw.Flush()
}

// cell is the price of that name, with a mark if there are others for long
// prompts.
func cell(p pricing.Period, name string) string {
	text := "-"
	for _, r := range p.Rates {
		switch {
		case r.Name == name && r.Above == 0:
			text = r.USD
		case r.Name == name:
			return text + "+"
		}
	}
	return text
}

type pricingShowCmd struct {
	Model    string `arg:"" help:"A model's name, as a provider or a row says it."`
	Provider string `help:"This provider only." placeholder:"P"`
	JSON     bool   `help:"Print JSON."`
}

// shown is a model's entry at one provider.
type shown struct {
	provider string
	entry    pricing.Entry
}

func (pricingShowCmd) Help() string {
	return `The name may be the one that a request asked for or the one that the provider answered with; what the book takes it for is told.

  halton-meter pricing show claude-sonnet-4-5 --provider anthropic`
}

func (c pricingShowCmd) Run(a *app) error {
	book, err := a.book()
	if err != nil {
		return err
	}
	now := a.now()
	providers := book.Providers()
	if c.Provider != "" {
		providers = []string{strings.ToLower(c.Provider)}
	}
	var found []shown
	for _, p := range providers {
		// A provider that sells another one's models at that one's prices is
		// shown if it is asked for.
		e, ok := book.Find(p, c.Model, now)
		if ok && (c.Provider != "" || e.Provider == p || e.Provider == "" && len(found) == 0) {
			found = append(found, shown{p, e})
		}
	}
	if len(found) == 0 {
		return &failure{
			err:  fmt.Errorf("no price of %q is known", c.Model),
			hint: "set one in config.toml: [pricing." + fmt.Sprintf("%q", c.Model) + "] input = \"3\", output = \"15\" (US dollars per million tokens)",
		}
	}
	if c.JSON {
		var entries []pricing.Entry
		for _, s := range found {
			entries = append(entries, s.entry)
		}
		return printJSON(os.Stdout, jsonEntries(entries, now))
	}
	for i, s := range found {
		if i > 0 {
			fmt.Println()
		}
		if err := printEntry(os.Stdout, c.Model, s, now); err != nil {
			return err
		}
	}
	return nil
}

func printEntry(w io.Writer, name string, s shown, now time.Time) error {
	e := s.entry
	seller := either(e.Provider, "any provider")
	fmt.Fprintf(w, "%s is priced as %s of %s\n", name, e.Name, seller)
	if e.Provider != "" && e.Provider != s.provider {
		fmt.Fprintf(w, "which %s sells at the same prices\n", s.provider)
	}
	fmt.Fprintf(w, "  names   %s\n  source  %s\n", e.Match, e.Source)
	current := e.At(now)
	for _, p := range slices.Backward(e.Periods) {
		mark := ""
		if p.When == current.When {
			mark = ", now"
		}
		when := either(p.When, "always")
		if p.When == "" && len(e.Periods) > 1 {
			when = "else"
		}
		fmt.Fprintf(w, "\n  %s%s\n", when, mark)
		if len(p.Rates) == 0 {
			fmt.Fprintln(w, "    no price is listed")
		}
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, r := range p.Rates {
			above := ""
			if r.Above > 0 {
				above = "for prompts above " + grouped(r.Above) + " tokens"
			}
			fmt.Fprintf(tw, "    %s\t$%s\t%s\t%s\n", strings.ReplaceAll(r.Name, "_", " "), r.USD, per(r), above)
		}
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// per says what a price is for.
func per(r pricing.Rate) string {
	switch r.Per {
	case 1_000_000:
		return "per million tokens"
	case 1_000:
		return "per thousand calls"
	}
	return "each"
}

// jsonEntry is an entry in pricing list and show --json.
type jsonEntry struct {
	Provider string       `json:"provider"` // "" is any
	Model    string       `json:"model"`
	Match    string       `json:"match"`
	Source   string       `json:"source"`
	Now      jsonPeriod   `json:"now"`
	History  []jsonPeriod `json:"history"`
}

type jsonPeriod struct {
	Since *string    `json:"since"` // null is always
	When  string     `json:"when"`
	Rates []jsonRate `json:"rates"`
}

type jsonRate struct {
	Name  string `json:"name"`
	USD   string `json:"usd"` // an exact decimal
	Per   int64  `json:"per"`
	Above int64  `json:"above_prompt_tokens"`
}

func jsonEntries(entries []pricing.Entry, now time.Time) []jsonEntry {
	all := []jsonEntry{}
	for _, e := range entries {
		out := jsonEntry{Provider: e.Provider, Model: e.Name, Match: e.Match, Source: e.Source, Now: jsonPeriodOf(e.At(now))}
		for _, p := range e.Periods {
			out.History = append(out.History, jsonPeriodOf(p))
		}
		all = append(all, out)
	}
	return all
}

func jsonPeriodOf(p pricing.Period) jsonPeriod {
	out := jsonPeriod{When: p.When, Rates: []jsonRate{}}
	if !p.Since.IsZero() {
		since := p.Since.Format(time.DateOnly)
		out.Since = &since
	}
	for _, r := range p.Rates {
		out.Rates = append(out.Rates, jsonRate(r))
	}
	return out
}

func either(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
