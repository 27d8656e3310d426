package house

import (
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"
)

// systems are those that the module supports: a _darwin.go file may import
// what no other does.
var systems = []string{"linux", "darwin"}

// mayImport says in which direction imports run between the rooms:
// cmd -> meter -> meter/*, and launchd, proxyedge and portalloc stand alone.
func mayImport(from, to string) bool {
	switch {
	case within(from, "examples"):
		// They show what other people's programs can do.
		return !within(to, "cmd", "internal", "examples")
	case within(to, "internal"):
		return true
	case within(from, "cmd"):
		return !within(to, "cmd", "examples") || sameProgram(from, to)
	case within(to, "cmd", "examples"), to == ".":
		return false
	case within(from, "launchd"):
		return within(to, "launchd")
	case within(from, "proxyedge"):
		return within(to, "proxyedge")
	case within(from, "portalloc"):
		return within(to, "portalloc")
	case within(from, "meter/provider"), within(from, "meter/pricing"):
		return within(to, "meter/provider", "meter/pricing")
	case within(from, "meter"):
		return to != "meter"
	case within(from, "internal"):
		// What everybody may import can import nobody.
		return within(to, "internal")
	default:
		return false
	}
}

func sameProgram(a, b string) bool {
	return slices.Equal(program(a), program(b))
}

// program is the first two parts of a path below cmd.
func program(rel string) []string {
	parts := strings.Split(rel, "/")
	return parts[:min(2, len(parts))]
}

func TestImportDirection(t *testing.T) {
	for _, goos := range systems {
		own, moduleOf := list(t, goos)
		for _, p := range own {
			for _, imported := range p.Imports {
				if moduleOf[imported] != module {
					continue
				}
				if to := relative(imported); !mayImport(p.rel(), to) {
					t.Errorf("%s: %s must not import %s", goos, p.rel(), to)
				}
			}
		}
	}
}

func TestMayImport(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		want     bool
	}{
		{"cmd/halton-meter", "meter", true},
		{"cmd/halton-meter", "meter/ledger", true},
		{"cmd/halton-meter", "cmd/halton-meter/config", true},
		{"cmd/meterbench", "cmd/halton-meter/config", false},
		{"meter", "meter/ledger", true},
		{"meter", "cmd/halton-meter", false},
		{"meter/api", "meter/ledger", true},
		{"meter/api", "meter", false},
		{"meter/capture", "proxyedge", true},
		{"meter/provider", "meter/tap", false},
		{"proxyedge", "portalloc", false},
		{"proxyedge", "internal/process", true},
		{"launchd", "proxyedge", false},
		{"launchd/emulator", "launchd", true},
		{"portalloc", "meter/provider", false},
		{"internal/process", "portalloc", false},
		{"examples/edge", "proxyedge", true},
		{"examples/edge", "internal/process", false},
	} {
		if got := mayImport(tt.from, tt.to); got != tt.want {
			t.Errorf("mayImport(%s, %s) = %v", tt.from, tt.to, got)
		}
	}
}

const xsys = "golang.org/x/sys"

// lean are the rooms whose modules are counted one by one, with everything
// that they bring along: a program that imports one pays for no other.
var lean = map[string][]string{
	"portalloc": {xsys},
	"proxyedge": {xsys},
	"launchd":   {xsys, "howett.net/plist", "github.com/sethvargo/go-retry", "github.com/ebitengine/purego"},
}

func TestLeanRooms(t *testing.T) {
	for _, goos := range systems {
		own, moduleOf := list(t, goos)
		for room, allowed := range lean {
			found := false
			for _, p := range own {
				if !within(p.rel(), room) {
					continue
				}
				found = true
				for _, dep := range p.Deps {
					m := moduleOf[dep]
					if m != "" && m != module && !slices.Contains(allowed, m) {
						t.Errorf("%s: %s", goos, describe(p, dep))
					}
				}
			}
			if !found {
				t.Errorf("there is no room %s", room)
			}
		}
	}
}

// confined are modules that only some rooms may bring into a program.
var confined = []struct {
	modules []string
	within  []string
	why     string
}{
	{
		[]string{"modernc.org/sqlite", "modernc.org/libc"},
		[]string{"meter/ledger", "meter/api", "cmd", "examples"},
		"a program that imports another room must not pay for a database",
	},
	{
		[]string{"github.com/alecthomas/kong", "github.com/pelletier/go-toml/v2", "charm.land/lipgloss/v2", "golang.org/x/term"},
		[]string{"cmd"},
		"command lines, configuration files and terminals belong to the program",
	},
	{
		[]string{"pgregory.net/rapid", "github.com/google/go-cmp", "github.com/rogpeppe/go-internal"},
		nil,
		"it is for tests",
	},
}

func TestConfinedModules(t *testing.T) {
	for _, goos := range systems {
		own, moduleOf := list(t, goos)
		for _, rule := range confined {
			for _, p := range own {
				// The daemon itself, not its rooms, assembles everything.
				if within(p.rel(), rule.within...) || p.rel() == "meter" && slices.Contains(rule.within, "meter/ledger") {
					continue
				}
				for _, dep := range p.Deps {
					if slices.Contains(rule.modules, moduleOf[dep]) {
						t.Errorf("%s: %s: %s", goos, describe(p, dep), rule.why)
					}
				}
			}
		}
	}
}

// A program that meters itself takes the reading and the prices of the meter
// with it, and nothing of the daemon.
func TestTransportIsLean(t *testing.T) {
	rooms := []string{"meter/transport", "meter/tap", "meter/provider", "meter/pricing", "meter/internal", "internal"}
	modules := []string{"github.com/klauspost/compress", "github.com/andybalholm/brotli"}
	for _, goos := range systems {
		own, moduleOf := list(t, goos)
		found := false
		for _, p := range own {
			if p.rel() != "meter/transport" {
				continue
			}
			found = true
			for _, dep := range p.Deps {
				switch m := moduleOf[dep]; {
				case m == module && !within(relative(dep), rooms...), m != "" && m != module && !slices.Contains(modules, m):
					t.Errorf("%s: %s", goos, describe(p, dep))
				}
			}
		}
		if !found {
			t.Error("there is no room meter/transport")
		}
	}
}

func TestOnlyTheLedgerOpensDatabases(t *testing.T) {
	for _, goos := range systems {
		own, _ := list(t, goos)
		for _, p := range own {
			for _, imported := range p.Imports {
				if within(imported, "modernc.org/sqlite") && !within(p.rel(), "meter/ledger") {
					t.Errorf("%s: %s imports %s", goos, p.rel(), imported)
				}
			}
		}
	}
}

// The formats and the prices are pure: bytes in, numbers out. Types of these
// packages are welcome there (an error has to be classified), the world is not.
func TestPureRooms(t *testing.T) {
	world := strings.Fields("time.Now time.Since time.After time.NewTimer os.Open os.OpenFile os.ReadFile os.WriteFile" +
		" os.Getenv os.Environ net.Dial net.Listen http.Get http.Post http.Client http.DefaultClient exec.Command")
	rooms := 0
	for _, s := range sources(t) {
		if !within(s.rel, "meter/provider", "meter/pricing") {
			continue
		}
		rooms++
		for name, f := range s.files {
			if s.isTest(name) {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := sel.X.(*ast.Ident); ok && slices.Contains(world, x.Name+"."+sel.Sel.Name) {
					t.Errorf("%s: %s.%s: the room is pure", path.Join(s.rel, name), x.Name, sel.Sel.Name)
				}
				return true
			})
		}
	}
	if rooms == 0 {
		t.Error("the pure rooms are gone")
	}
}
