package manual

import (
	"fmt"
	"strings"
)

// Page is what a manual says beside the commands.
type Page struct {
	Program, Version string
	// Date is that of the program, "" if it is not known.
	Date     string
	Sections []Section
}

// Section has a title in lower case and a text like that of [Command].Detail.
type Section struct{ Title, Text string }

// Markdown writes the manual for a repository or a browser.
func (p Page) Markdown(commands []Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n", p.Program, commands[0].Help)
	for _, c := range commands {
		if len(c.Path) > 0 {
			fmt.Fprintf(&b, "\n## %s %s\n\n%s\n", p.Program, c.Name(), c.Help)
		}
		fmt.Fprintf(&b, "\n```\n%s\n```\n", p.synopsis(c))
		markdownText(&b, c.Detail)
		if len(c.Flags) > 0 {
			b.WriteString("\n| flag | meaning |\n|---|---|\n")
		}
		for _, f := range c.Flags {
			fmt.Fprintf(&b, "| `%s` | %s |\n", f.usage(), strings.ReplaceAll(f.Help, "|", `\|`))
		}
		if len(c.Commands) > 0 {
			b.WriteString("\n| command | what it does |\n|---|---|\n")
		}
		for _, sub := range c.Commands {
			fmt.Fprintf(&b, "| `%s` | %s |\n", sub.Name(), strings.ReplaceAll(sub.Help, "|", `\|`))
		}
	}
	for _, s := range p.Sections {
		fmt.Fprintf(&b, "\n## %s%s\n", strings.ToUpper(s.Title[:1]), s.Title[1:])
		markdownText(&b, s.Text)
	}
	return b.String()
}

func markdownText(b *strings.Builder, text string) {
	for _, part := range blocks(text) {
		if part.example {
			fmt.Fprintf(b, "\n```sh\n%s\n```\n", strings.Join(part.lines, "\n"))
		} else {
			fmt.Fprintf(b, "\n%s\n", part.lines[0])
		}
	}
}

func (p Page) synopsis(c Command) string {
	words := append([]string{p.Program}, c.Path...)
	if len(c.Flags) > 0 {
		words = append(words, "[flags]")
	}
	if len(c.Commands) > 0 {
		words = append(words, "<command>")
	}
	if c.Args != "" {
		words = append(words, c.Args)
	}
	return strings.Join(words, " ")
}

func (f Flag) usage() string {
	if f.Value == "" {
		return "--" + f.Name
	}
	return "--" + f.Name + "=" + f.Value
}

// Man writes a page of section 1, as man(7) describes it.
func (p Page) Man(commands []Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 \"%s\" \"%s %s\"\n", strings.ToUpper(roff(p.Program)), p.Date, roff(p.Program), p.Version)
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(p.Program), roff(strings.TrimSuffix(commands[0].Help, ".")))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n.SH DESCRIPTION\n", roff(p.synopsis(commands[0])))
	manText(&b, commands[0].Detail)
	manFlags(&b, commands[0].Flags)
	b.WriteString(".SH COMMANDS\n")
	for _, c := range commands[1:] {
		fmt.Fprintf(&b, ".SS %s\n%s\n", roff(strings.TrimPrefix(p.synopsis(c), p.Program+" ")), roff(c.Help))
		manText(&b, c.Detail)
		manFlags(&b, c.Flags)
	}
	for _, s := range p.Sections {
		fmt.Fprintf(&b, ".SH %s\n", strings.ToUpper(roff(s.Title)))
		manText(&b, s.Text)
	}
	return b.String()
}

func manText(b *strings.Builder, text string) {
	for _, part := range blocks(text) {
		if !afterHeading(b.String()) {
			b.WriteString(".PP\n")
		}
		if !part.example {
			b.WriteString(roff(part.lines[0]) + "\n")
			continue
		}
		b.WriteString(".nf\n.RS\n")
		for _, line := range part.lines {
			b.WriteString(roff(line) + "\n")
		}
		b.WriteString(".RE\n.fi\n")
	}
}

// afterHeading reports whether a page ends with a heading: a paragraph begins
// there by itself.
func afterHeading(page string) bool {
	last := page[strings.LastIndexByte(strings.TrimSuffix(page, "\n"), '\n')+1:]
	return strings.HasPrefix(last, ".SH ") || strings.HasPrefix(last, ".SS ")
}

func manFlags(b *strings.Builder, flags []Flag) {
	for _, f := range flags {
		fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(f.usage()), roff(f.Help))
	}
}

// roff escapes a line: groff_char(7). A dot or a quote at its start would make
// it a request.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		return `\&` + s
	}
	return s
}
