package main

import (
	"strings"
	"testing"
)

// Every command and flag that is not hidden is in the manual and in the
// completions, and says what it is for.
func TestManualIsComplete(t *testing.T) {
	page, commands := pages(newParser())
	texts := map[string]string{
		"man": strings.ReplaceAll(page.Man(commands), `\-`, "-"), "markdown": page.Markdown(commands),
		"bash": page.Bash(commands), "zsh": page.Zsh(commands), "fish": page.Fish(commands),
	}
	if len(commands) < 20 {
		t.Errorf("only %d commands", len(commands))
	}
	has := func(what string, spellings ...string) {
		t.Helper()
		for format, text := range texts {
			found := false
			for _, s := range spellings {
				found = found || strings.Contains(text, s)
			}
			if !found {
				t.Errorf("%s lacks %s", format, what)
			}
		}
	}
	for _, c := range commands {
		if len(c.Path) > 0 {
			last := c.Path[len(c.Path)-1]
			has(c.Name(), ".SS "+c.Name(), "## halton-meter "+c.Name()+"\n", "command=' "+c.Name()+"'", "-a "+last+" -d")
		}
		if c.Help == "" || !strings.HasSuffix(c.Help, ".") {
			t.Errorf("%q: its help is %q", c.Name(), c.Help)
		}
		for _, f := range c.Flags {
			has(c.Name()+" --"+f.Name, "--"+f.Name, "-l "+f.Name+" ")
			if f.Help == "" || !strings.HasSuffix(f.Help, ".") {
				t.Errorf("%s --%s: its help is %q", c.Name(), f.Name, f.Help)
			}
		}
	}
	for format, text := range texts {
		for _, hidden := range []string{"handover-version", "userenv -", "restart"} {
			if strings.Contains(text, " "+hidden+"\n") {
				t.Errorf("%s tells of %s", format, hidden)
			}
		}
	}
}

// A command that does something has more to say than its one line.
func TestHelpIsEnough(t *testing.T) {
	_, commands := pages(newParser())
	for _, c := range commands {
		if len(c.Path) > 0 && len(c.Commands) == 0 && c.Detail == "" {
			t.Errorf("halton-meter %s --help has no text", c.Name())
		}
	}
}
