package manual

import (
	"fmt"
	"strings"
)

// Bash is a completion script for bash 3.2 and newer, which macOS has.
func (p Page) Bash(commands []Command) string {
	return fmt.Sprintf(`# Completion of %[1]s for bash.
_%[2]s() {
	local cur=${COMP_WORDS[COMP_CWORD]} command= flag= rest= word i words=
	COMPREPLY=()
	[[ $cur == = ]] && cur=
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		[[ $word == = ]] && continue
%[3]s	done
%[6]s	case $flag in
	'') ;;
%[4]s	*)
		COMPREPLY=($(compgen -f -- "$cur"))
		return
		;;
	esac
	if [[ -n $rest ]]; then
		COMPREPLY=($(compgen -c -f -- "$cur"))
		return
	fi
	case $command in
%[5]s	esac
	COMPREPLY=($(compgen -W "$words" -- "$cur"))
	if [[ ${#COMPREPLY[@]} -eq 0 && $cur != -* ]]; then
		COMPREPLY=($(compgen -f -- "$cur"))
	fi
}
complete -F _%[2]s %[1]s
`, p.Program, p.function(), machine(commands, "\t\t"),
		each(flagsWithValues(commands), func(c Command, f Flag) string {
			if f.Values == nil {
				return ""
			}
			return fmt.Sprintf("\t%s)\n\t\tCOMPREPLY=($(compgen -W %s -- \"$cur\"))\n\t\treturn\n\t\t;;\n",
				single(c.state()+" --"+f.Name), single(strings.Join(f.Values, " ")))
		}),
		cases(commands, func(c Command) string { return "words=" + single(strings.Join(c.words(), " ")) }), begun(commands))
}

// Zsh is a completion script for zsh: a file "_program" in the fpath, or one to
// be sourced after compinit.
func (p Page) Zsh(commands []Command) string {
	return fmt.Sprintf(`#compdef %[1]s
# Completion of %[1]s for zsh.
_%[2]s() {
	local command= flag= rest= word i
	local -a subcommands flags
	for ((i = 2; i < CURRENT; i++)); do
		word=${words[i]}
%[3]s	done
	local cur=${words[CURRENT]}
%[6]s	if [[ $cur == --*=* ]]; then
		flag="$command ${cur%%%%=*}"
		compset -P '*='
	fi
	case $flag in
	'') ;;
%[4]s	*)
		_files
		return
		;;
	esac
	if [[ -n $rest ]]; then
		_command_names -e
		_files
		return
	fi
	case $command in
%[5]s	esac
	if [[ $cur == -* ]]; then
		_describe flag flags
	elif (( ${#subcommands} )); then
		_describe command subcommands
	else
		_files
	fi
}
if [[ ${funcstack[1]} == _%[2]s ]]; then
	_%[2]s "$@"
else
	compdef _%[2]s %[1]s
fi
`, p.Program, p.function(), machine(commands, "\t\t"),
		each(flagsWithValues(commands), func(c Command, f Flag) string {
			if f.Values == nil {
				return ""
			}
			return fmt.Sprintf("\t%s)\n\t\tcompadd -- %s\n\t\treturn\n\t\t;;\n", single(c.state()+" --"+f.Name), strings.Join(f.Values, " "))
		}),
		cases(commands, func(c Command) string {
			var subs, flags []string
			for _, sub := range c.Commands {
				subs = append(subs, single(sub.Path[len(sub.Path)-1]+":"+sub.Help))
			}
			for _, choice := range c.Choices {
				subs = append(subs, single(choice))
			}
			for _, f := range c.Flags {
				flags = append(flags, single("--"+f.Name+":"+f.Help))
			}
			return "subcommands=(" + strings.Join(subs, " ") + ")\n\t\tflags=(" + strings.Join(flags, " ") + ")"
		}), begun(commands))
}

// Fish is a completion script for fish 3 and newer.
func (p Page) Fish(commands []Command) string {
	var b strings.Builder
	say := func(condition, what, help string) {
		fmt.Fprintf(&b, "complete -c %s -n %s %s -d %s\n", p.Program, single(condition), what, fishQuote(help))
	}
	fmt.Fprintf(&b, "# Completion of %[1]s for fish.\ncomplete -c %[1]s -f\n", p.Program)
	for _, c := range commands {
		if c.Runs {
			p.fishRunner(&b, c)
		}
	}
	for _, c := range commands {
		condition := "__fish_use_subcommand"
		if len(c.Path) > 0 {
			condition = "__fish_seen_subcommand_from " + strings.Join(c.Path, "; and __fish_seen_subcommand_from ")
		}
		var names []string
		for _, sub := range c.Commands {
			names = append(names, sub.Path[len(sub.Path)-1])
		}
		if len(names) > 0 && len(c.Path) > 0 {
			condition += "; and not __fish_seen_subcommand_from " + strings.Join(names, " ")
		}
		for i, sub := range c.Commands {
			say(condition, "-a "+names[i], sub.Help)
		}
		for _, f := range c.Flags {
			what := "-l " + f.Name
			switch {
			case f.Values != nil:
				what += " -x -a " + single(strings.Join(f.Values, " "))
			case f.Value != "":
				what += " -r"
			}
			say(condition, what, f.Help)
		}
		switch {
		case c.Runs:
			say(condition, "-a '("+p.fishRest(c)+")'", "")
		case c.Choices != nil:
			say(condition, "-a "+single(strings.Join(c.Choices, " ")), "")
		case c.Takes:
			fmt.Fprintf(&b, "complete -c %s -n %s -F\n", p.Program, single(condition))
		}
	}
	return b.String()
}

// fishRest is the function that completes another program's command line.
func (p Page) fishRest(c Command) string {
	return "__" + p.function() + "_" + strings.Join(c.Path, "_") + "_rest"
}

// fishRunner writes that function: it leaves out what comes before the other
// program, and has fish complete the rest as if that stood alone.
func (p Page) fishRunner(b *strings.Builder, c Command) {
	var valued []string
	for _, f := range c.Flags {
		if f.Value != "" {
			valued = append(valued, "--"+f.Name)
		}
	}
	fmt.Fprintf(b, `function %s
	set -l words (commandline -opc)[%d..-1] (commandline -ct)
	while set -q words[2]; and string match -q -- '-*' $words[1]
		if contains -- $words[1] %s
			set -e words[1]
		end
		set -e words[1]
	end
	string match -q -- '-*' $words[1]; and return
	set -l line (string join ' ' -- (string escape -- $words[1..-2]) $words[-1])
	complete "-C$line"
end
`, p.fishRest(c), len(c.Path)+2, strings.Join(valued, " "))
}

// machine is the body of a loop, in the syntax that bash and zsh share, that
// reads one word before the one to complete: which command it is, which flag's
// value comes next, and whether another program's command line has begun.
func machine(commands []Command, indent string) string {
	var b strings.Builder
	line := func(s string) { b.WriteString(indent + s + "\n") }
	line(`[[ -n $rest ]] && continue`)
	line(`if [[ -n $flag ]]; then flag=; continue; fi`)
	line(`case "$command $word" in`)
	for _, c := range commands {
		for _, sub := range c.Commands {
			line(single(sub.state()) + `) command=` + single(sub.state()) + ` ;;`)
		}
		for _, f := range c.Flags {
			if f.Value != "" {
				line(single(c.state()+" --"+f.Name) + `) flag="$command $word" ;;`)
			}
		}
	}
	line(`*' -'?*) ;;`)
	for _, c := range commands {
		if c.Runs {
			line(single(c.state()+" ") + `*) rest=yes ;;`)
		}
	}
	line(`esac`)
	return b.String()
}

// begun has another program's command line begin with the word to complete.
func begun(commands []Command) string {
	var b strings.Builder
	for _, c := range commands {
		if c.Runs {
			fmt.Fprintf(&b, "\t[[ $command == %s && $cur != -* ]] && rest=yes\n", single(c.state()))
		}
	}
	return b.String()
}

// state is the command in a script's variable: each word after a space.
func (c Command) state() string {
	if len(c.Path) == 0 {
		return ""
	}
	return " " + c.Name()
}

// words are what may follow: choices, the commands beneath and the flags.
func (c Command) words() []string {
	words := append([]string{}, c.Choices...)
	for _, sub := range c.Commands {
		words = append(words, sub.Path[len(sub.Path)-1])
	}
	for _, f := range c.Flags {
		words = append(words, "--"+f.Name)
	}
	return words
}

type flagOf struct {
	command Command
	flag    Flag
}

func flagsWithValues(commands []Command) (all []flagOf) {
	for _, c := range commands {
		for _, f := range c.Flags {
			if f.Value != "" {
				all = append(all, flagOf{c, f})
			}
		}
	}
	return all
}

func each(flags []flagOf, write func(Command, Flag) string) string {
	var b strings.Builder
	for _, f := range flags {
		b.WriteString(write(f.command, f.flag))
	}
	return b.String()
}

func cases(commands []Command, write func(Command) string) string {
	var b strings.Builder
	for _, c := range commands {
		fmt.Fprintf(&b, "\t%s)\n\t\t%s\n\t\t;;\n", single(c.state()), write(c))
	}
	return b.String()
}

func (p Page) function() string { return strings.ReplaceAll(p.Program, "-", "_") }

func single(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// fishQuote: in fish a backslash escapes inside single quotes too.
func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}
