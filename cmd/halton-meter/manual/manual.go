// Package manual writes what a command line's grammar says in other forms: a
// man page, Markdown, and completions for bash, zsh and fish. So none of them
// can fall behind the program.
//
// [Read] takes the grammar from Kong; the other functions write text. Hidden
// commands and flags are in none of it.
package manual

import (
	"strings"

	"github.com/alecthomas/kong"
)

// Command is a command as its user sees it.
type Command struct {
	// Path is what is typed after the program's name, empty for the program.
	Path []string
	// Args are the positional arguments, as usage shows them.
	Args string
	// Help is one line, Detail more of it, with examples as indented lines.
	Help, Detail string
	Flags        []Flag
	// Commands are the names and help of the commands beneath.
	Commands []Command
	// Runs means that its arguments are another command.
	Runs bool
	// Takes means that it has arguments; Choices are what they may be, nil for
	// anything.
	Takes   bool
	Choices []string
}

// Flag is a flag without its dashes.
type Flag struct {
	Name, Help string
	// Value is what usage shows for its value, "" for a switch.
	Value string
	// Values are all that it may be, nil for anything.
	Values []string
}

// Name is the words of the path.
func (c Command) Name() string { return strings.Join(c.Path, " ") }

// Read is the program and all its commands, each before those beneath it.
func Read(app *kong.Application) []Command { return read(app.Node, nil) }

func read(n *kong.Node, path []string) []Command {
	c := Command{Path: path, Help: n.Help, Detail: n.Detail}
	for _, f := range n.Flags {
		if !f.Hidden {
			c.Flags = append(c.Flags, flags(f)...)
		}
	}
	var args []string
	for _, p := range n.Positional {
		args = append(args, p.Summary())
		c.Takes = true
		if p.Enum != "" {
			c.Choices = p.EnumSlice()
		}
		c.Runs = c.Runs || p.PassthroughMode != kong.PassThroughModeNone
	}
	c.Args = strings.Join(args, " ")
	var beneath []Command
	for _, child := range n.Children {
		if child.Hidden {
			continue
		}
		all := read(child, append(append([]string{}, path...), child.Name))
		c.Commands = append(c.Commands, all[0])
		beneath = append(beneath, all...)
	}
	return append([]Command{c}, beneath...)
}

func flags(f *kong.Flag) []Flag {
	flag := Flag{Name: f.Name, Help: f.Help}
	if !f.IsBool() {
		flag.Value = f.FormatPlaceHolder()
		if f.Enum != "" {
			flag.Values = f.EnumSlice()
		}
	}
	if f.Tag == nil || f.Tag.Negatable == "" {
		return []Flag{flag}
	}
	return []Flag{flag, {Name: "no-" + f.Name, Help: "Not --" + f.Name + "."}}
}

// blocks splits a text into paragraphs and, indented, examples.
func blocks(text string) (out []block) {
	for part := range strings.SplitSeq(strings.Trim(text, "\n"), "\n\n") {
		switch {
		case part == "":
		case strings.HasPrefix(part, "  "):
			var lines []string
			for line := range strings.Lines(part) {
				lines = append(lines, strings.TrimSpace(line))
			}
			out = append(out, block{example: true, lines: lines})
		default:
			out = append(out, block{lines: []string{strings.Join(strings.Fields(part), " ")}})
		}
	}
	return out
}

type block struct {
	example bool
	lines   []string
}
