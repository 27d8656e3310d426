package manual_test

import (
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/manual"
)

type grammar struct {
	Paint struct {
		Colour string `help:"One of ${enum}." enum:"red,blue" default:"red"`
		Dry    *bool  `negatable:"" help:"Let it dry."`
		Secret bool   `hidden:""`
		What   string `arg:"" help:"A thing."`
	} `cmd:"" help:"Paint it."`
	Shelf struct {
		Add struct{} `cmd:"" help:"Put 'it' up."`
	} `cmd:"" help:"The shelf."`
	Exec struct {
		As   string   `placeholder:"WHO" help:"Who."`
		Args []string `arg:"" passthrough:"partial" help:"Another program."`
	} `cmd:"" help:"Run."`
	Wire struct {
		Args []string `arg:"" optional:"" help:"Words."`
	} `cmd:"" passthrough:"" help:"Speak."`
	Ghost struct{} `cmd:"" hidden:""`
}

func read(t *testing.T) (manual.Page, []manual.Command) {
	t.Helper()
	app, err := kong.New(&grammar{}, kong.Name("handy-man"), kong.Description("Does things."))
	if err != nil {
		t.Fatal(err)
	}
	return manual.Page{Program: "handy-man", Sections: []manual.Section{{Title: "files", Text: ".plan is read.\n\n  cat .plan\n"}}}, manual.Read(app.Model)
}

func TestRead(t *testing.T) {
	_, commands := read(t)
	var names []string
	for _, c := range commands {
		names = append(names, c.Name())
	}
	if diff := cmp.Diff([]string{"", "paint", "shelf", "shelf add", "exec", "wire"}, names); diff != "" {
		t.Errorf("commands: %s", diff)
	}
	want := []manual.Flag{
		{Name: "colour", Help: "One of red,blue.", Value: `"red"`, Values: []string{"red", "blue"}},
		{Name: "dry", Help: "Let it dry."},
		{Name: "no-dry", Help: "Not --dry."},
	}
	if diff := cmp.Diff(want, commands[1].Flags); diff != "" {
		t.Errorf("flags of paint: %s", diff)
	}
	if !commands[4].Runs || commands[5].Runs || commands[1].Runs || !commands[1].Takes {
		t.Errorf("exec %+v, paint %+v", commands[4], commands[1])
	}
}

func TestPages(t *testing.T) {
	page, commands := read(t)
	for name, got := range map[string]string{"man": page.Man(commands), "markdown": page.Markdown(commands)} {
		for _, never := range []string{"secret", "ghost"} {
			if strings.Contains(got, never) {
				t.Errorf("%s tells of the hidden %s", name, never)
			}
		}
	}
	man := page.Man(commands)
	for _, want := range []string{
		".SH NAME\nhandy\\-man \\- Does things\n", ".SS paint [flags] <what>\nPaint it.\n", ".B \\-\\-colour=\"red\"\n",
		".SS shelf add\nPut 'it' up.\n", ".SH FILES\n\\&.plan is read.\n.PP\n.nf\n.RS\ncat .plan\n.RE\n.fi\n",
	} {
		if !strings.Contains(man, want) {
			t.Errorf("the man page lacks %q:\n%s", want, man)
		}
	}
	markdown := page.Markdown(commands)
	for _, want := range []string{
		"# handy-man\n\nDoes things.\n", "## handy-man shelf add\n", "| `--no-dry` | Not --dry. |\n", "\n.plan is read.\n\n```sh\ncat .plan\n```\n",
	} {
		if !strings.Contains(markdown, want) {
			t.Errorf("the Markdown lacks %q:\n%s", want, markdown)
		}
	}
}
