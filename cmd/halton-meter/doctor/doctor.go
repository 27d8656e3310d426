// Package doctor looks at every layer of an installation and says what is
// wrong, by which evidence, and which command mends it.
//
// A [Patient] is what is known of the machine; [Patient.Examine] runs the
// checks, each of which ends in a [Finding]. A finding that a program can mend
// carries commands; a [Plan] is those of all findings, in the order in which
// they must run, each once. The doctor itself changes nothing: what "--apply"
// does can be typed.
package doctor

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
)

// Verdict is how bad a finding is, and how bad all of them are together.
type Verdict string

// The verdicts, from good to bad.
const (
	Healthy      Verdict = "HEALTHY"
	Inconsistent Verdict = "INCONSISTENT" // it works, and is not as it should be
	Broken       Verdict = "BROKEN"       // traffic or metering does not work
)

func (v Verdict) rank() int { return slices.Index([]Verdict{Healthy, Inconsistent, Broken}, v) }

// Finding is the result of one check. Its JSON names are a promise.
type Finding struct {
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	// Evidence is what was seen.
	Evidence string `json:"evidence"`
	// Next is what to do: a command, or a sentence where none does it.
	Next string `json:"next,omitempty"`
	// Commands mend it, if a program can.
	Commands []Command `json:"commands,omitempty"`
}

// Command is one step of a plan.
type Command struct {
	Argv []string `json:"argv"`
	// Order is when it runs: first what others need.
	Order Order `json:"-"`
}

// Order sorts the steps of a plan.
type Order int

// The stages of a plan.
const (
	First   Order = iota // files and permissions
	Stop                 // what must be down for the rest
	Repair               // of the ledger
	Install              // halton-meter init
	Start                // halton-meter start
)

// String is the command as it is typed.
func (c Command) String() string {
	words := make([]string, len(c.Argv))
	for i, w := range c.Argv {
		words[i] = shellenv.Quote(w)
	}
	return strings.Join(words, " ")
}

// meter is a command of this program.
func meter(order Order, args ...string) Command {
	return Command{Argv: append([]string{"halton-meter"}, args...), Order: order}
}

func ok(evidence string) Finding { return Finding{Verdict: Healthy, Evidence: evidence} }

// mend is a finding that commands put right.
func mend(v Verdict, evidence string, commands ...Command) Finding {
	f := Finding{Verdict: v, Evidence: evidence, Commands: commands}
	var typed []string
	for _, c := range commands {
		typed = append(typed, c.String())
	}
	f.Next = strings.Join(typed, " && ")
	return f
}

// advise is a finding that only the user can put right.
func advise(v Verdict, evidence, next string) Finding {
	return Finding{Verdict: v, Evidence: evidence, Next: next}
}

// Report is the result of an examination.
type Report struct {
	Version  string    `json:"version"`
	Verdict  Verdict   `json:"verdict"`
	Findings []Finding `json:"findings"`

	// stuck: a daemon that ends now would not start again.
	stuck bool
}

type check struct {
	name string
	look func(*Patient, context.Context) Finding
}

// checks are in the order in which things depend on each other, so that the
// first bad finding is most likely the cause of those after it.
var checks = []check{
	{"files", (*Patient).files},
	{"installation", (*Patient).installation},
	{"state directory", (*Patient).stateDirectory},
	{"permissions", (*Patient).permissions},
	{"free disk", (*Patient).disk},
	{"clock", (*Patient).clock},
	{"configuration", (*Patient).configuration},
	{"program", (*Patient).program},
	{"keys", (*Patient).keys},
	{"certificate authority", (*Patient).authority},
	{"trust bundle", (*Patient).bundle},
	{"launch agents", (*Patient).plists},
	{"supervisor", (*Patient).supervisor},
	{"disabled jobs", (*Patient).disabled},
	{"edge", (*Patient).edge},
	{"daemon", (*Patient).daemon},
	{"watchdog", (*Patient).watchdog},
	{"second daemon", (*Patient).secondDaemon},
	{"login agent", (*Patient).userenv},
	{"other commands", (*Patient).otherCommands},
	{"ports", (*Patient).ports},
	{"proxy variables", (*Patient).proxyVariables},
	{"GUI environment", (*Patient).guiEnvironment},
	{"other proxies", (*Patient).otherProxies},
	{"upstream", (*Patient).upstream},
	{"system proxy", (*Patient).systemProxy},
	{"shell files", (*Patient).shellFiles},
	{"sentinels", (*Patient).sentinels},
	{"ledger", (*Patient).ledger},
	{"prices", (*Patient).prices},
	{"post-mortems", (*Patient).postmortems},
	{"handshake", (*Patient).handshakes},
}

// Examine runs all checks, or those up to one after which nothing can be
// judged.
func (p *Patient) Examine(ctx context.Context) Report {
	p.blind, p.absent, p.stuck, p.mute = false, false, false, nil
	r := Report{Version: p.Version, Verdict: Healthy}
	for _, c := range checks {
		if p.absent && c.name != "proxy variables" {
			continue
		}
		f := c.look(p, ctx)
		f.Check = c.name
		if f.Verdict.rank() > r.Verdict.rank() {
			r.Verdict = f.Verdict
		}
		r.Findings = append(r.Findings, f)
		if p.blind {
			break
		}
	}
	r.stuck = p.stuck
	if p.absent {
		// What is well says nothing of a machine without the meter.
		r.Findings = slices.DeleteFunc(r.Findings, func(f Finding) bool { return f.Verdict == Healthy })
	}
	return r
}

// Plan is what mends all findings that a program can mend. Where no daemon would
// start again, those wait that stop or start one.
func (r Report) Plan() []Command {
	var plan []Command
	for _, f := range r.Findings {
		for _, c := range f.Commands {
			if r.stuck && c.Order > First {
				continue
			}
			if !slices.ContainsFunc(plan, func(have Command) bool { return slices.Equal(have.Argv, c.Argv) }) {
				plan = append(plan, c)
			}
		}
	}
	slices.SortStableFunc(plan, func(a, b Command) int { return cmp.Compare(a.Order, b.Order) })
	return plan
}
