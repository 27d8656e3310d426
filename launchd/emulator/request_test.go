package emulator

import (
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseArgs(t *testing.T) {
	gui := domain{"gui", 501}
	for line, want := range map[string]request{
		"bootstrap gui/501 /a.plist /b.plist": {Verb: "bootstrap", Domain: gui, Paths: []string{"/a.plist", "/b.plist"}},
		"bootout gui/501 /a.plist":            {Verb: "bootout", Domain: gui, Paths: []string{"/a.plist"}},
		"bootout gui/501/x":                   {Verb: "bootout", Domain: gui, Label: "x"},
		"bootout --wait gui/501/x":            {Verb: "bootout", Domain: gui, Label: "x", Wait: true},
		"kickstart -k -p gui/501/x":           {Verb: "kickstart", Domain: gui, Label: "x", Kill: true, ShowPID: true},
		"kickstart -kp gui/501/x":             {Verb: "kickstart", Domain: gui, Label: "x", Kill: true, ShowPID: true},
		"kill TERM user/501/x":                {Verb: "kill", Domain: domain{"user", 501}, Label: "x", Signal: int(unix.SIGTERM)},
		"kill -SIGUSR1 gui/501/x":             {Verb: "kill", Domain: gui, Label: "x", Signal: int(unix.SIGUSR1)},
		"kill 30 gui/501/x":                   {Verb: "kill", Domain: gui, Label: "x", Signal: int(unix.SIGUSR1)},
		"print system/com.apple.x":            {Verb: "print", Domain: domain{Kind: "system"}, Label: "com.apple.x"},
		"print system":                        {Verb: "print", Domain: domain{Kind: "system"}},
		"print-disabled gui/501":              {Verb: "print-disabled", Domain: gui},
		"setenv A b":                          {Verb: "setenv", Key: "A", Value: "b"},
		"list":                                {Verb: "list"},
		"load -wF a.plist":                    {Verb: "load", Persist: true, Force: true, Paths: []string{"a.plist"}},
		"unload -S Aqua -D all a b":           {Verb: "unload", Session: "Aqua", Paths: []string{"a", "b"}},
		"load -wSBackground a":                {Verb: "load", Persist: true, Session: "Background", Paths: []string{"a"}},
		"start x":                             {Verb: "start", Label: "x"},
		"list x":                              {Verb: "list", Label: "x"},
	} {
		got, done := parseArgs(strings.Fields(line), Knobs{})
		if len(got.Paths) == 0 {
			got.Paths = nil
		}
		if done != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %+v; want %+v", line, got, done, want)
		}
	}
}

func TestParseArgsRefuses(t *testing.T) {
	for line, want := range map[string]int{
		"":                            1,
		"frobnicate":                  1,
		"print":                       64,
		"print gui":                   64,
		"print gui/":                  64,
		"print gui/x":                 64,
		"print gui/501/":              64,
		"print nonsense/501/x":        64,
		"bootstrap gui/501/x":         64,
		"bootout --wait gui/501":      64,
		"kickstart gui/501":           64,
		"kickstart -x gui/501/x":      64,
		"kill NOSUCH gui/501/x":       64,
		"kill TERM":                   64,
		"setenv A":                    64,
		"enable x":                    64,
		"list a b":                    64,
		"print-disabled gui/501/x":    64,
		"bootout gui/501/x /a.plist":  64,
		"load":                        64,
		"load -w":                     64,
		"load -x a":                   64,
		"unload -S":                   64,
		"start":                       64,
		"remove":                      64,
		"error":                       64,
		"kickstart -k gui/501/x more": 64,
	} {
		if _, done := parseArgs(strings.Fields(line), Knobs{}); done == nil || done.Code != want || done.Stderr == "" {
			t.Errorf("%q: %+v, want %d", line, done, want)
		}
	}
	if _, done := parseArgs([]string{"bootout", "--wait", "gui/501/x"}, Knobs{OS: MacOS15}); done == nil || !strings.Contains(done.Stderr, "Unrecognized target specifier.") {
		t.Errorf("bootout --wait before macOS 26: %+v", done)
	}
}

func FuzzParseArgs(f *testing.F) {
	for _, line := range []string{"print gui/501/x", "kill -9 gui/501/x", "bootout --wait system/x", "error 0x5", "kickstart -kp user/0/a/b", "load -wS Aqua a", "unload -D all -F a b"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		r, done := parseArgs(strings.Split(line, " "), Knobs{})
		if done != nil || r.Domain.Kind == "" || r.Label == "" {
			return
		}
		if d, label, ok := parseTargetSpec(r.target()); !ok || d != r.Domain || label != r.Label {
			t.Errorf("%q: target %q does not read back", line, r.target())
		}
	})
}
